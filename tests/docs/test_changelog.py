"""The changelog has the form of Keep a Changelog, so that people and tools can read it."""

import datetime
import re

from ..support.places import ROOT

KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
LONGEST = 300  # characters of an entry
TEXT = (ROOT / "CHANGELOG.md").read_text()
RELEASES = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]


def test_the_newest_release_is_first() -> None:
    titles = [release.partition("\n")[0] for release in RELEASES]
    assert titles[0] == "Unreleased"
    found = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)", title) for title in titles[1:]]
    assert None not in found, "a release is '## 1.2.3 - 2026-11-29'"
    versions = [tuple(map(int, match.groups()[:3])) for match in found if match]
    dates = [datetime.date.fromisoformat(match[4]) for match in found if match]
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_changes_are_sorted_by_their_kind() -> None:
    for release in RELEASES:
        title, _, text = release.partition("\n")
        before, *parts = re.split(r"^### ", text, flags=re.MULTILINE)
        assert before.strip() == "", title
        kinds = [part.partition("\n")[0] for part in parts]
        assert kinds == [kind for kind in KINDS if kind in kinds], (title, kinds)
        assert all("\n- " in part for part in parts), title


def test_entries_are_short_sentences() -> None:
    for release in RELEASES:
        text = re.sub(r"^(?:### )?.*\n", "", release, count=1)
        for entry in re.findall(r"^- (.*(?:\n  .*)*)", text, re.MULTILINE):
            assert len(entry) <= LONGEST, entry
            assert entry.endswith("."), entry
            assert re.match(r"[A-Z`]", entry), entry
        others = [line for line in text.splitlines() if line and not line.startswith(("- ", "  ", "### "))]
        assert others == []
