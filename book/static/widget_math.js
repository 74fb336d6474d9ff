// The widget manager sets its labels with MathJax 2, the pages have MathJax 4: translate the one call it makes.
// Registered before the widget manager's own listener, and after MathJax has replaced its configuration.
window.addEventListener("load", () => {
  if (window.MathJax) MathJax.Hub = { Queue: ([, , element]) => MathJax.typesetPromise([element]) };
});
