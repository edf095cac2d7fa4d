"""The registry that drives docstrings, tests and benchmarks."""

import inspect
import re

import pytest
from numpydoc.docscrape import FunctionDoc

from linalgkit._core import capabilities as caps


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Start with an empty registry."""
    monkeypatch.setattr(caps, "_REGISTRY", {})


def sections(*names):
    """Return a docstring with the sections named."""
    texts = {"Parameters": "x : int\n    A number.", "Returns": "int\n    It."}
    body = [f"{n}\n{'-' * len(n)}\n{texts.get(n, f'Text of {n}.')}\n" for n in names]
    return "Do it.\n\n" + "\n".join(body)


def documented(*names):
    def work(x):
        return x

    work.__doc__ = sections(*names)
    return work


class TestDocstrings:
    @pytest.mark.parametrize(
        "names",
        [
            (),
            ("Parameters", "Returns"),
            ("Parameters", "Notes"),
            ("Parameters", "Examples"),
            ("Parameters", "Returns", "Notes", "References", "Examples"),
            ("References", "Examples"),
        ],
    )
    def test_the_section_is_part_of_the_notes_wherever_they_are(self, names):
        work = caps.capability("room.work", sparse=True)(documented(*names))
        parsed = FunctionDoc(work)
        notes = "\n".join(parsed["Notes"])
        assert "**Array libraries**" in notes
        assert "scipy.sparse and cupyx.scipy.sparse" in notes
        for name in names:
            if name in ("Notes", "References", "Examples"):
                assert f"Text of {name}." in "\n".join(parsed[name])
        heads = [line for line in work.__doc__.splitlines() if line in (*names, "Notes")]
        order = ["Parameters", "Returns", "Notes", "References", "Examples"]
        assert heads == [name for name in order if name in (*names, "Notes")]

    def test_indented_docstrings_of_classes_are_understood(self):
        @caps.capability("room.Thing", streaming=True, lazy=True, notes="Special.")
        class Thing:
            """Hold it.

            Parameters
            ----------
            x : int
                A number.
            """

        lines = Thing.__doc__.splitlines()
        assert lines[0] == "Hold it."
        assert "    A number." in lines
        assert "Streaming in blocks: yes." in lines
        assert "JAX               yes  yes" in lines
        assert lines[-1] == "Special."
        assert inspect.getdoc(Thing) == Thing.__doc__.rstrip()

    def test_eager_libraries_and_missing_ones_are_shown(self):
        text = caps.capability("room.work", libraries={"numpy": ("cpu",), "jax": ("cpu",)})(
            documented()
        ).__doc__
        assert "JAX (eager)       yes  no" in text
        assert "PyTorch           no   no" in text
        assert "CuPy              n/a  no" in text

    def test_the_table_is_valid_restructuredtext(self):
        nodes = pytest.importorskip("docutils.nodes")
        from docutils.core import publish_doctree

        work = caps.capability("room.work")(documented())
        strict = {"report_level": 1, "halt_level": 2}
        for text in (caps.table(), caps.get("room.work").describe()):
            tree = publish_doctree(text, settings_overrides=strict)
            assert len(list(tree.findall(nodes.table))) == 1
        assert work(3) == 3

    def test_without_docstrings_nothing_breaks(self):
        def bare():
            return 1

        assert caps.capability("room.bare")(bare).__doc__ is None


class TestRegistry:
    def test_entries_are_sorted_and_filtered(self):
        for name, streaming in (("b.two", True), ("a.one", False)):
            caps.capability(name, streaming=streaming)(documented())
        assert [e.name for e in caps.entries()] == ["a.one", "b.two"]
        assert [e.name for e in caps.entries(streaming=True)] == ["b.two"]
        assert caps.get("a.one").streaming is False

    def test_combinations_are_what_is_supported(self):
        caps.capability(
            "room.work", libraries={"numpy": ("cpu",), "torch": ("gpu",)}, dtypes=("float32",)
        )(documented())
        entry = caps.get("room.work")
        assert list(entry.combinations()) == [
            ("numpy", "cpu", "float32"),
            ("torch", "gpu", "float32"),
        ]
        assert entry.supports("torch", "gpu", "float32")
        assert not entry.supports("torch", "cpu", "float32")
        assert not entry.supports("numpy", "cpu", "float64")
        assert not entry.supports("jax", "cpu", "float32")

    def test_entries_cannot_be_changed(self):
        caps.capability("room.work")(documented())
        entry = caps.get("room.work")
        with pytest.raises(AttributeError):
            entry.sparse = True
        with pytest.raises(TypeError):
            entry.libraries["numpy"] = ()

    def test_a_name_belongs_to_one_object(self):
        work = documented()
        caps.capability("room.work")(work)
        caps.capability("room.work")(documented())  # the same source, as after a reload
        with pytest.raises(ValueError, match=r"room\.work is registered by .*work already"):
            caps.capability("room.work")(sections)

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"libraries": ("nunpy",)}, "libraries must be among .* got 'nunpy'"),
            ({"libraries": {"numpy": ("gpu",)}}, "devices of numpy must be among .*'gpu'"),
            ({"libraries": {"numpy": ()}}, r"devices of numpy must be among .* got \(\)"),
            ({"dtypes": ("float16",)}, "dtypes must be among .*float16"),
            ({"dtypes": ()}, r"dtypes must be among .* got \(\)"),
        ],
    )
    def test_unknown_words_are_refused(self, options, why):
        with pytest.raises(ValueError, match=why):
            caps.capability("room.work", **options)

    def test_the_table_has_a_row_for_each(self):
        caps.capability("room.work", sparse=True, synchronisations={"call": 3})(documented())
        caps.capability(
            "room.part", libraries={"numpy": ("cpu",), "torch": ("gpu",)}, dtypes=("float64",)
        )(sections)
        part, work = (re.split(r"  +", row) for row in caps.table().splitlines()[3:5])
        assert work == ["``room.work``", "all", "all", "yes", "no", "no", "3 a call"]
        assert part[:3] == ["``room.part``", "NumPy, PyTorch (gpu)", "float64"]
        assert part[-1] == "not counted"

    def test_synchronisations_are_told_in_words(self):
        counts = {"block": 1, "iteration": 2, "result": 8}
        work = caps.capability("room.work", synchronisations=counts)(documented())
        start = "Host synchronisations, counted on small problems: "
        assert f"{start}1 a block, 2 an iteration, 8 a result." in work.__doc__
        nothing = caps.capability("room.two", synchronisations={})(documented())
        assert "Host synchronisations, counted on small problems: none." in nothing.__doc__
        assert "synchronisations" not in caps.capability("room.three")(documented()).__doc__
        with pytest.raises(TypeError):
            caps.get("room.work").synchronisations["block"] = 2

    def test_what_is_eager_says_so(self):
        assert "(``jax.jit``): no, eager" in caps.capability("room.work")(documented()).__doc__
        assert "(``jax.jit``): yes" in caps.capability("room.two", lazy=True)(documented()).__doc__
