"""The outside addresses that the built book links to, and whether they still answer.

python -m tools.links             every address, with the pages that link to it
python -m tools.links --check     asks each of them; prints the dead ones, and fails if there are any
"""

import argparse
import http.client
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urldefrag, urlsplit

from project.repository import ROOT, URL

BOOK = ROOT / "_build" / "html"
FORMS = f"{URL}/issues/new"  # every page has its own form, which asks to log in: nothing to learn there
ALIVE_BUT_SHY = {401, 403, 405, 406, 429}  # publishers and search engines answer so when no person is asking
FOR_GOOD = {404, 410}  # no use in asking again
WORKERS = 8


class Links(HTMLParser):
    """Collects the outside addresses that a page links to or loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value and value.startswith(("http://", "https://")):
                self.found.add(urldefrag(value.strip()).url)


def outside(site: Path) -> dict[str, list[str]]:
    """{address without its fragment: the pages that use it}, both sorted. FileNotFoundError if there are no pages."""
    users = defaultdict(list)
    pages = sorted(site.rglob("*.html"))
    if not pages:
        raise FileNotFoundError(f"no pages in {site}: run make book")
    for path in pages:
        page = Links()
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        for address in page.found:
            if not address.startswith(FORMS):
                users[address].append(path.relative_to(site).as_posix())
    return dict(sorted(users.items()))


def ask(address: str, *, tries: int = 3, pause: float = 5.0, timeout: float = 20.0) -> int | str:
    """The HTTP status that an address ends with, after redirections; or, if it gives none, why not.

    HEAD first, then GET for servers that know no HEAD. Asks again, up to `tries` times, after what may pass:
    a server's own error, no answer, too many requests. pause: seconds before the second try, doubled each time.
    """
    answer: int | str = "not asked"
    for attempt in range(tries):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        for method in ("HEAD", "GET"):
            answer = _once(address, method, timeout)
            if isinstance(answer, str) or answer < 400:
                break  # without an answer to HEAD there is none to GET
        if isinstance(answer, int) and (answer < 400 or answer in FOR_GOOD or answer in ALIVE_BUT_SHY - {429}):
            break
    return answer


def is_dead(answer: int | str) -> bool:
    """Does this answer of `ask` mean that a reader finds nothing?"""
    return isinstance(answer, str) or (answer >= 400 and answer not in ALIVE_BUT_SHY)


def ask_all(
    addresses: Iterable[str], *, pause: float = 1.0, one: Callable[[str], int | str] = ask
) -> dict[str, int | str]:
    """{address: answer of `one`}. Hosts are asked side by side, each at most once in `pause` seconds."""
    hosts = defaultdict(list)
    for address in addresses:
        hosts[urlsplit(address).netloc].append(address)

    def ask_host(of_host: list[str]) -> dict[str, int | str]:
        answers: dict[str, int | str] = {}
        for address in of_host:
            if answers:
                time.sleep(pause)
            answers[address] = one(address)
        return answers

    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(ask_host, hosts.values()))
    return {address: answer for answers in found for address, answer in answers.items()}


def _once(address: str, method: str, timeout: float) -> int | str:
    try:
        plain = quote(address, safe="%/:=&?~#+!$,;'@()*[]")  # an address may be written with letters beyond ASCII
        request = urllib.request.Request(plain, method=method, headers={"User-Agent": f"link check of {URL}"})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="python -m tools.links", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--book", type=Path, default=BOOK, help="the built book (default: what make book made)")
    made.add_argument("--check", action="store_true", help="ask each address; fail if one is dead")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    command = parser()
    given = command.parse_args(arguments)
    try:
        users = outside(given.book)
    except FileNotFoundError as error:
        command.exit(2, f"{error}\n")
    if not given.check:
        for address, pages in users.items():
            print(address, *pages)
        return
    answers = ask_all(users)
    dead = [address for address in users if is_dead(answers[address])]
    for address in users:
        if address in dead or answers[address] in ALIVE_BUT_SHY:
            print("dead" if address in dead else "unsure", answers[address], address, *users[address])
    shy = sum(answer in ALIVE_BUT_SHY for answer in answers.values())
    print(f"{len(users)} addresses: {len(dead)} dead, {shy} that answer no robot, the others alive")
    if dead:
        command.exit(1)


if __name__ == "__main__":
    main()
