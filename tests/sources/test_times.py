"""Times of the fast path are those of the careful one: no spelling is judged by its neighbours."""

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.sources.times import iso_micros, parse_plain_iso

TEXT = pl.col("text")


def fast(texts: list[str]) -> list[int | None]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(parse_plain_iso(TEXT)).to_series().to_list()


# Two-digit numbers, mostly sound ones, also short, signed and blank-padded.
PAIRS = st.integers(0, 61).map("{:02}".format) | st.sampled_from(
    ["1", "+1", " 1", "60", "24", "٣٤"]
)
SPELLINGS = st.builds(
    "{}{}-{}-{}{}{}:{}:{}{}{}".format,
    st.sampled_from(["", "", "", "+", "-", " "]),
    st.sampled_from(["2024", "1969", "0000", "0999", "24", "12024"]),
    PAIRS | st.sampled_from(["01", "02", "12"]),
    PAIRS,
    st.sampled_from([" ", "T", "T", "  ", "t", "", "TT"]),
    PAIRS,
    PAIRS,
    PAIRS,
    st.sampled_from(["", "", ".", ".1", ".1234567", ".999999999", ".0000000001", ",5"]),
    st.sampled_from(["", "Z", "Z", "z", "ZZ", " ", "+01:00", "\n"]),
)


@given(st.lists(SPELLINGS, max_size=20))
@example(["2024-1-1 1:00:00", "2024-01-01 00:00:60", "+2024-01-01 00:00:00"])
@example(["2024-01-01  00:00:00", "2024-01-01 00:00:00.", "2024-01-01 00:00:00\n"])
@example(["1969-12-31 23:59:59.9999999", "2024-02-30 00:00:00", "0000-01-01 00:00:00"])
def test_the_fast_path_finds_the_time_that_the_careful_one_finds_or_none(texts: list[str]) -> None:
    for text, found in zip(texts, fast(texts), strict=True):
        assert found is None or found == iso_micros(text)


def test_the_fast_path_takes_the_common_spellings() -> None:
    common = [
        "2024-01-03T12:00:00Z",
        "2024-01-03 12:00:00",
        "2024-01-03T12:00:00.5",
        "2024-01-03 12:00:00.123456789Z",
    ]
    assert fast(common) == [iso_micros(text) for text in common]
    assert None not in fast(common)
