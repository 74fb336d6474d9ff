// What the theme leaves without a name, or out of the keyboard's reach.
window.addEventListener("DOMContentLoaded", () => {
  const each = (selector, change) => document.querySelectorAll(selector).forEach(change);

  // The arrow beside a chapter, which unfolds its second part.
  each(".bd-sidenav summary", arrow => {
    arrow.setAttribute("aria-label", `More of: ${arrow.closest("li").querySelector("a").textContent}`);
  });

  // What these say on the screen is their name.
  each("details.hide > summary, .search-button-field", element => element.removeAttribute("aria-label"));

  each(".citation-list > .citation", entry => entry.setAttribute("role", "listitem"));

  // What scrolls sideways can be reached by the Tab key, and then moved by the arrows.
  const reach = new ResizeObserver(changed => changed.forEach(({ target }) => {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }));
  each("article :is(pre, div.math, table, .cell_output, .pst-scrollable-table-container)", box => reach.observe(box));

  // Paper is white, whatever the screen is.
  const { dataset } = document.documentElement;
  let theme;
  window.addEventListener("beforeprint", () => { theme = dataset.theme; dataset.theme = "light"; });
  window.addEventListener("afterprint", () => { dataset.theme = theme; });
});
