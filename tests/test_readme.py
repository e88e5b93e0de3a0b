"""The README says what the committed records say; it is filled by `site.readme`."""

import pytest

from mixkd import chapters, claims, figures, site


def test_what_was_found_is_current():
    surveys = claims.survey()
    if not surveys:
        pytest.skip("the committed records are of another plan")
    text = (chapters.ROOT / "README.md").read_text(encoding="utf-8")
    assert repr(figures.found(surveys)) == text.split(site.FOUND[0])[1].split(site.FOUND[1])[0].strip(), "`make readme` writes them anew"
    assert (chapters.ROOT / "book" / "assets" / "map.svg").read_text(encoding="utf-8") == figures.map_svg(surveys[0])


def test_only_what_stands_between_the_marks_is_written_and_nothing_without_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"# Name\n\n{site.FOUND[0]}\nold\n{site.FOUND[1]}\n\nThe end.\n")
    assert site.readme(tmp_path, tmp_path) == [path]
    text = path.read_text()
    assert text.startswith("# Name\n\n<!-- found -->\n")
    assert text.endswith("\n<!-- /found -->\n\nThe end.\n")
    assert "old" not in text
    path.write_text("# Name\n")
    with pytest.raises(ValueError, match="no lines <!-- found -->"):
        site.readme(tmp_path, tmp_path)
    assert path.read_text() == "# Name\n"
