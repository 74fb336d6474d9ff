"""The repository agrees with itself: one address, whole notebooks, and modules that match their map."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest

from project import needs, repository
from project.repository import ROOT, URL

NOTEBOOKS = {path.name: nbformat.read(path, as_version=4) for path in repository.notebooks()}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book):
    return [output for cell in code_cells(book) for output in cell.outputs]


def published_files():
    """What a clone holds: tracked files, and new ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


# --- one address --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["README.md", "pyproject.toml", "CITATION.cff", "CONTRIBUTING.md"])
def test_every_mention_of_the_repository_is_the_one_in_the_configuration(name):
    text = (ROOT / name).read_text()
    repositories = set(re.findall(r"https://github\.com/[\w.-]+/[\w-]+", text))
    assert repositories <= {URL}
    assert URL in text or name == "CONTRIBUTING.md"


def test_the_example_of_the_readme_does_what_it_says():
    (example,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(example, names)
    found, energy = names["found"], names["found"].energy
    assert found.image.shape == (1, 3, 96, 96) and 0 <= found.image.min() and found.image.max() <= 1
    assert sum(values[-1] for values in energy.values()) < sum(values[0] for values in energy.values())


def test_every_mention_of_the_version_is_the_one_in_pyproject():
    assert f"\nversion: {repository.VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {repository.VERSION}" in (ROOT / "CHANGELOG.md").read_text()


# --- notebooks ----------------------------------------------------------------------------------------------


def test_the_book_has_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("book", NOTEBOOKS.values(), ids=NOTEBOOKS)
class TestNotebook:
    def test_is_valid(self, book):
        nbformat.validate(book)

    def test_first_code_cell_installs_the_package_in_colab(self, book):
        first = code_cells(book)[0]
        assert first.source == repository.first_cell(cutouts=repository.shows_cutouts(book))
        assert "remove-cell" in first.metadata.get("tags", [])

    def test_every_code_cell_was_executed_in_order(self, book):
        counts = [cell.execution_count for cell in code_cells(book)]
        assert counts == list(range(1, len(counts) + 1))

    def test_outputs_are_stored(self, book):
        """nbval passes a checked cell that has nothing stored to compare with."""
        assert outputs(book)
        for cell in code_cells(book):
            if "NBVAL_CHECK_OUTPUT" in cell.source or "nbval-check-output" in cell.metadata.get("tags", []):
                texts = [o for o in cell.outputs if o.output_type == "stream" or "text/plain" in o.get("data", {})]
                assert texts, cell.source

    def test_no_warning_and_no_error_is_stored(self, book):
        assert not [o for o in outputs(book) if o.output_type == "error" or o.get("name") == "stderr"]

    def test_one_kernel_name_and_nothing_else_of_the_machine(self, book):
        assert book.metadata.kernelspec.name == "python3"
        assert set(book.metadata.language_info) == {"name", "pygments_lexer"}
        assert not [cell.id for cell in code_cells(book) if "execution" in cell.metadata]

    def test_no_path_of_a_machine(self, book):
        text = nbformat.writes(book)
        personal = re.findall(r"(?<![\w.])/(?:home|root|Users|tmp)/[\w.-]+", text)
        assert not personal
        assert str(ROOT) not in text

    def test_widget_views_have_their_state(self, book):
        views = [o.data[WIDGET_VIEW]["model_id"] for o in outputs(book) if WIDGET_VIEW in o.get("data", {})]
        if "widgets" in book.metadata or views:
            state = book.metadata.widgets[WIDGET_STATE]["state"]  # GitHub refuses a notebook without this key
            assert set(views) <= set(state)
            assert sorted(state) == [f"{number:032x}" for number in range(len(state))]  # the same in every run

    @pytest.mark.parametrize("need", needs.NEEDS, ids=lambda need: need.tag)
    def test_no_other_cell_needs_what_a_tagged_one_defines(self, book, need):
        """Where the machine lacks what they need those cells are skipped, and the rest must run."""
        names = {True: set(), False: set()}  # tagged or not -> what its cells define
        for cell in code_cells(book)[1:]:
            tagged, tree = need in needs.needed(cell), ast.parse(cell.source)
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
            names[tagged] |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            names[tagged] |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
            assert tagged or not used & (names[True] - names[False]), cell.source

    def test_every_picture_says_what_it_shows(self, book):
        for cell in code_cells(book):
            pictures = [o for o in cell.outputs if any(kind.startswith("image/") for kind in o.get("data", {}))]
            if pictures:
                assert len(pictures) == 1, f"one description, but {len(pictures)} pictures: {cell.source}"
                alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                assert len(alt.strip()) >= 30, f"no alt text: {cell.source}"
                assert not re.search(r"\.(png|jpe?g|svg)\b|/\w+/", alt), f"a file name is no alt text: {alt}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_stays_small_and_in_the_table_of_contents(name):
    assert (ROOT / repository.BOOK / name).stat().st_size < 1_500_000
    assert f" {Path(name).stem}\n" in (ROOT / repository.BOOK / "_toc.yml").read_text()


# --- the package and its map --------------------------------------------------------------------------------

PACKAGE = ROOT / "course_lib"


def module_map():
    """{module: (layer, idea)} from the rows `| layer | `module` | idea |` of the package's docstring."""
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())) or ""
    rows = re.findall(r"^\|\s*(\d+|-)\s*\|\s*`(\w+)`\s*\|\s*(.+?)\s*\|$", text, flags=re.MULTILINE)
    return {module: (layer, idea) for layer, module, idea in rows}


def imported_modules(path):
    """The names of this package's modules that a file imports, however it spells it, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("course_lib."))
        elif isinstance(node, ast.ImportFrom):
            origin = ("course_lib." * bool(node.level) + (node.module or "")).strip(".")
            if origin == "course_lib":
                yield from (alias.name for alias in node.names)
            elif origin.startswith("course_lib."):
                yield origin.split(".")[1]


# A module is a file, or a folder of files with one idea in common.
FILES = {path.stem: [path] for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
FILES |= {path.parent.name: sorted(path.parent.rglob("*.py")) for path in PACKAGE.glob("*/__init__.py")}
MODULES = sorted(FILES)


def imports_of(module):
    """The other modules that this one imports."""
    return {name for path in FILES[module] for name in imported_modules(path)} - {module}


def test_the_map_names_exactly_the_modules_there_are():
    assert sorted(module_map()) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_an_import_points_to_a_lower_layer(module):
    layer = {name: layer for name, (layer, _) in module_map().items()}
    for imported in imports_of(module):
        beside = "-" in (layer[module], layer[imported])
        assert beside or layer[imported] < layer[module], f"{module} imports {imported}"


def test_a_module_beside_the_layers_is_their_floor_or_their_roof():
    imports = {module: imports_of(module) for module in MODULES}
    for module, (layer, _) in module_map().items():
        users = [user for user in MODULES if module in imports[user]]
        assert layer != "-" or not imports[module] or not users, f"{module} imports, and is imported by, others"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_begins_with_its_row_in_the_map(module):
    (first, *_) = [path for path in FILES[module] if path.stem in (module, "__init__")]
    docstring = ast.get_docstring(ast.parse(first.read_text())) or ""
    idea = module_map()[module][1]
    assert " ".join(docstring.split()).casefold().startswith(idea.casefold())


# --- what stands above the package --------------------------------------------------------------------------

# `project` is what benchmarks, tools and tests share; those three stand side by side, but a test imports what it tests.
MAY_IMPORT = {
    "course_lib": set(),
    "project": {"course_lib"},
    "bench": {"course_lib", "project"},
    "tools": {"course_lib", "project"},
    "tests": {"course_lib", "project", "bench", "tools"},
}
# The command runs in the repository only, and asks it for the address that it writes into the students' notebooks.
ASKS_FOR_THE_ADDRESS = {("course_lib/grading/__main__.py", "project")}


def imported_parts(path):
    """The parts of the repository that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from (part for name in names if (part := name.split(".")[0]) in MAY_IMPORT)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_of_the_repository_imports_only_what_stands_below_it(part):
    found = {
        (path.relative_to(ROOT).as_posix(), imported)
        for path in published_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == part
        for imported in imported_parts(path)
    }
    assert found
    forbidden = {(file, imported) for file, imported in found if imported not in MAY_IMPORT[part] | {part}}
    assert forbidden <= ASKS_FOR_THE_ADDRESS


# --- the installed package ----------------------------------------------------------------------------------

SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_an_install_holds_every_folder_of_the_package():
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert sorted(SETUPTOOLS["packages"]) == sorted(folders)


def test_an_install_holds_every_file_of_the_package():
    patterns = [(ROOT / package.replace(".", "/"), p) for package, ps in SETUPTOOLS["package-data"].items() for p in ps]
    held = {path for folder, pattern in patterns for path in folder.glob(pattern)}
    files = {path for path in published_files() if path.is_relative_to(PACKAGE) and path.suffix != ".py"}
    assert files <= held


# --- what does not belong into a repository -----------------------------------------------------------------


def test_no_weights_of_others_and_no_large_file():
    for path in published_files():
        assert path.suffix not in {".pth", ".pt"}, path
        assert path.stat().st_size <= 8_000_000, path


def test_no_path_of_this_machine():
    here = {str(ROOT), str(Path.home())} - {"/"}
    for path in published_files():
        content = path.read_bytes()
        assert not [place for place in here if re.search(rb"(?<![\w.])" + place.encode() + rb"/", content)], path


def test_the_floors_admit_the_pins():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if "==" in line)
    extras = [floors for name, floors in project["optional-dependencies"].items() if name != "mutation"]
    for text in [*project["dependencies"], *sum(extras, [])]:
        floor = Requirement(text)
        assert floor.name.lower() in pins, f"{floor.name} is not pinned"
        assert floor.specifier.contains(pins[floor.name.lower()]), f"{floor} against {pins[floor.name.lower()]}"


def test_a_cell_tag_is_spelt_as_the_tools_know_it():
    pages = {f"{verb}-{what}" for verb in ("hide", "remove") for what in ("input", "output", "cell")}
    known = (
        pages
        | {need.tag for need in needs.NEEDS}
        | {"nbval-check-output", "nbval-ignore-output", "nbval-raises-exception"}
        | {"wide"}  # its figure may leave the text column (book/static/course.css)
    )
    for name, book in NOTEBOOKS.items():
        tags = {tag for cell in book.cells for tag in cell.metadata.get("tags", [])}
        assert tags <= known, f"{name}: {tags - known}"
