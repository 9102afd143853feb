import polars as pl
import pytest

from pipeline.evaluation.report import markdown
from tests.evaluation.tables import table


def lines(**changes: float) -> list[str]:
    return markdown(table(**changes), ["usefulness.png"]).splitlines()


def starting(found: list[str], start: str) -> list[str]:
    return [line for line in found if line.startswith(start)]


def test_the_headline_comes_first_and_says_what_was_measured():
    found = lines()
    assert found[0] == "# Evaluation of shop"
    assert found[2] == "## Headline"
    assert starting(found, "- ")[:7] == [
        "- sasrec, log as it is: NDCG@10 of cleaned - raw = +0.0200 [+0.0100, +0.0300]: "
        "**better**.",
        "- sasrec, popularity noise 20%: NDCG@10 of cleaned - noisy = +0.0300 "
        "[+0.0200, +0.0400]: **better**.",
        "- sasrec, popularity noise 20%: recovery of cleaned 0.60 [0.50, 0.70] "
        "(oracle - noisy = 5.0 standard errors).",
        "- sasrec, log as it is: by validation, nothing is better than **raw**.",
        "- sasrec, popularity noise 20%: by validation **soft at 0.3** is best "
        "(NDCG@10 - noisy = +0.0400 [-0.0100, +0.0900]: no measurable difference); "
        "on the test +0.0400 [+0.0300, +0.0500].",
        "- Detection, popularity noise 20%: AUROC / AP 0.900 / 0.650 (popularity alone 0.500 / "
        "0.150); 4.0% of the genuine rows removed (budget 5.0%).",
        "- Ablation, popularity noise 20%: AUROC falls most without signal_semantic (-0.200).",
    ]


def test_the_headline_tells_of_weights_too():
    cleaned = table().filter(pl.col("arm") == "cleaned")
    soft = cleaned.with_columns(pl.lit("soft").alias("arm"))
    found = markdown(pl.concat([table(), soft]), []).splitlines()
    told = "- sasrec, log as it is: NDCG@10 of soft - raw = +0.0200 [+0.0100, +0.0300]: **better**."
    assert told in found
    assert starting(found, "- sasrec, popularity noise 20%: recovery of soft 0.60 [0.50, 0.70]")


@pytest.mark.parametrize(
    ("apart", "verdict"),
    [(0.02, "better"), (0.005, "no measurable difference"), (-0.02, "worse")],
)
def test_the_verdict_follows_the_interval(apart, verdict):
    assert starting(lines(apart=apart), "- sasrec, log as it is")[0].endswith(f"**{verdict}**.")


def test_a_recovery_is_not_told_where_the_gap_is_within_its_error():
    found = lines(gap_errors=3.9)
    assert not any("0.60 [" in line for line in found)
    told = "no recovery of cleaned can be told (oracle - noisy = 3.9 standard errors; 4 are needed)"
    assert any(told in line for line in found)
    assert "| sasrec | popularity noise 20% | NDCG@10 | 3.9 | all | not told |" in found
    row = "| sasrec | popularity noise 20% | NDCG@10 | 5.0 | cleaned | 0.60 [0.50, 0.70] |"
    assert row in lines()


def test_arms_stand_in_a_table_with_what_they_drop():
    found = lines()
    arms = found[found.index("### sasrec, log as it is") :]
    assert arms[4] == "| raw | - | 0.1500 | - | - | - | - | 0.1000 | - |  |"
    assert arms[5] == (
        "| cleaned | 3.4% | 0.1400 | - | - | - | - | 0.1200 | - | +0.0200 [+0.0100, +0.0300] |"
    )


def test_strata_without_values_are_left_out():
    found = starting(lines(), "| popularity noise 20% | ours")
    assert found == [
        "| popularity noise 20% | ours | all | 0.900 | 0.650 | 0.700 | 0.400 | 0.040 |",
        "| popularity noise 20% | ours | 1-5 | - | - | - | - | 0.030 |",
    ]


def test_the_protocol_names_split_ties_seeds_and_counts():
    text = "\n".join(lines())
    assert "split leave_one_out, seeds [0]" in text
    assert "Equal timestamps: shuffle (seed 0)." in text
    assert "- users (split): 1,234" in text
    assert "- as of: 2024-01-20" in text


def test_what_is_missed_most_stands_first_in_the_ablation():
    found = lines()
    rows = found[found.index("### popularity noise 20%") :][2:8]
    assert rows == [
        "| arm | removed | AUROC | AP | AUROC of 1-5 | recall |",
        "|---|---|---|---|---|---|",
        "| with all |  | 0.800 | 0.500 | 0.700 | - |",
        "| without signal_semantic | signal | 0.600 (-0.200) | 0.300 (-0.200) | 0.500 (-0.200) "
        "| - |",
        "| without signal_surprise | signal | 0.750 (-0.050) | 0.450 (-0.050) | 0.650 (-0.050) "
        "| - |",
        "| without the alignment loss | loss | 0.790 (-0.010) | 0.490 (-0.010) | 0.690 (-0.010) "
        "| - |",
    ]


def test_pictures_are_linked():
    assert any(line.endswith("](usefulness.png)") for line in lines())


def test_a_report_of_one_part_alone_is_whole():
    whole = table()
    for part in ("detection", "usefulness", "ablation"):
        alone = whole.filter(whole["part"].is_in([part, "protocol"]))
        found = markdown(alone, [])
        assert "## Headline" in found
        assert ("## Detection" in found) == (part == "detection")
        assert ("## Usefulness" in found) == (part == "usefulness")
        assert ("## Ablation" in found) == (part == "ablation")
