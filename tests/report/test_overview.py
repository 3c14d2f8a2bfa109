"""The overview: every published number is there, nothing is blank, claims follow from intervals; in a browser."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import jupytext
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench import published
from bench.protocol import records
from bench.protocol.trials import Grid
from bench.report import effects, overview
from bench.report.effects import Effect
from bench.report.overview import claims, counterparts, quantities, training
from bench.report.overview.claims import CLAIMS, FAILS, HOLDS, MARGIN, NONE, OPEN
from bench.report.tables.interactive import Cell, interactive

ROOT = Path(__file__).parents[2]
CASE = {
    "experiment": "scbert_annotation",
    "tier": "paper",
    "dataset": "zheng68k",
    "metric": "accuracy",
    "fraction": 1.0,
}


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return records.read(own=False)


@pytest.fixture(scope="module")
def numbers(committed) -> pd.DataFrame:
    return overview.numbers(committed)


@pytest.fixture(scope="module")
def comparisons(committed) -> pd.DataFrame:
    return overview.comparisons(committed)


def made(values: dict, **fields) -> pd.DataFrame:
    """Return records of runs: (model, variant) -> accuracies by seed."""
    rows = []
    for (model, variant), scores in values.items():
        known = CASE | {"model": model, "variant": variant or "default", "recipe": "published", "status": "ok"}
        known |= {"split": "random", "subset": "paired", "protocol": "1/1", "hyperparameters": "{}", "class": ""}
        rows += [known | {"seed": seed, "value": v, "key": f"{model}{variant}{seed}"} for seed, v in enumerate(scores)]
    table = pd.DataFrame(rows).assign(epoch=np.nan, dataset_hash="d", weights_hash="", **fields)
    return table.reindex(columns=[*records.COLUMNS, "origin"])


def only(table: pd.DataFrame, **asked) -> pd.Series:
    found = table[(table[list(asked)] == pd.Series(asked)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_every_printed_mean_interval_and_test_of_the_paper_is_there():
    table, printed = quantities.quantities(), published.summary()
    printed = printed[printed["statistic"].isin(["mean", "ci95_halfwidth", "p"])]
    for row in printed.itertuples():
        same = table[(table[quantities.KEY] == [getattr(row, name) for name in quantities.KEY]).all(axis=1)]
        same = same[same["statistic"] == ("p" if row.statistic == "p" else "mean")]
        column = "half_width" if row.statistic == "ci95_halfwidth" else "value"
        hidden = row.experiment == "fig3_ttest" and row.fraction == 1  # computed by the notebook, in no figure
        assert (same[column] - row.value).abs().min() < 1e-3 or (hidden and same.empty), row
    places = {"Table 1", "Table 2", "Table 3", "Supplementary Table 4", "Supplementary Figure 6, Table 5", "Liver"}
    assert set(table["place"]) == places | {f"Figure {n}" for n in (2, 3, 4, 5)}


def test_a_mean_that_is_not_printed_says_so_and_has_the_papers_interval():
    accuracy = {"model": "scbert", "variant": "pretrained", "metric": "accuracy", "statistic": "mean"}
    row = only(quantities.quantities(), place="Figure 2", fraction=0.1, **accuracy)
    assert (row["value"], row["half_width"]) == pytest.approx((0.632554, 0.171810), abs=1e-6)
    assert row["detail"] == "3 runs, mean and ± computed"
    printed = only(quantities.quantities(), place="Table 1", **accuracy)
    assert (printed["value"], printed["half_width"]) == pytest.approx((0.766494, 0.012626), abs=1e-6)
    assert printed["detail"] == "10 runs, ± printed"


def test_stale_p_values_of_table_2_are_marked():
    table = quantities.quantities()
    tests = table[(table["place"] == "Table 2") & (table["statistic"] == "p")].set_index(["variant", "metric"])
    assert tests.loc[("pretrained vs no_pretraining", "accuracy"), "detail"] == "printed, the runs give 0.331"
    assert tests.loc[("pretrained vs no_pretraining", "hard_f1"), "detail"] == "printed, the runs agree"


@pytest.mark.slow
def test_every_claim_rests_on_numbers_and_every_case_has_a_published_difference(comparisons):
    table = list(quantities.quantities().itertuples(index=False))
    for claim in CLAIMS:
        assert any(claim.covers(quantity) for quantity in table), claim.says
    theirs = comparisons[comparisons["tier"] == "published"]
    assert len(theirs) == sum(len(c.datasets) * sum(map(len, c.cases.values())) for c in CLAIMS)
    in_words = theirs["place"].eq("Figure 4")
    assert theirs.loc[~in_words, "value"].notna().all()


@pytest.mark.parametrize(
    ("same", "value", "error", "verdict"),
    [
        (False, 0.02, 0.005, HOLDS),
        (False, -0.02, 0.005, FAILS),
        (False, 0.02, 0.02, OPEN),
        (False, 0.02, None, OPEN),
        (True, 0.0, MARGIN / 3, HOLDS),
        (True, 3 * MARGIN, MARGIN, FAILS),
        (True, -3 * MARGIN, MARGIN, FAILS),
        (True, 0.0, MARGIN, OPEN),
        (True, 1.5 * MARGIN, MARGIN, OPEN),
    ],
)
def test_a_verdict_follows_from_the_test(same, value, error, verdict):
    claim = claims.Claim("a is above b", "Table 1", claims.LR, claims.SCBERT, same=same)
    effect = Effect(value, "", (stats.norm(value, error),) if error else ())
    assert claim.verdict(*claim.p(effect)) == verdict
    low, high = effect.interval(claim.level)  # the verdict of a single test is that of the interval shown beside it
    bottom, top = (-MARGIN, MARGIN) if same else (0, np.inf)
    inside, outside = bottom < low and high < top, high < bottom or low > top
    assert (inside, outside) == (verdict == HOLDS, verdict == FAILS)


@pytest.mark.slow
def test_p_values_are_corrected_for_the_comparisons_of_one_table_in_one_tier(comparisons):
    tested = comparisons[comparisons["p_holm"].notna()]
    assert set(tested["tier"]) >= {"published", "quick"}
    for _, group in tested.groupby(["place", "tier"]):
        assert list(group["p_holm"]) == pytest.approx(multipletests(group["p"], method="holm")[1])
    decided = comparisons[comparisons["verdict"].isin([HOLDS, FAILS])]
    assert (decided["p_holm"] < 0.05).all()
    assert comparisons.loc[comparisons["p_holm"] >= 0.05, "verdict"].eq(OPEN).all()
    lost = tested[(tested["p"] < 0.05) & (tested["p_holm"] >= 0.05) & (tested["tier"] == "published")]
    assert set(lost["place"]) == {"Figure 2"}, "three runs against three, ten comparisons"


@pytest.mark.slow
def test_published_verdicts_say_what_the_published_runs_show(comparisons):
    theirs = comparisons[(comparisons["tier"] == "published") & (comparisons["metric"] == "accuracy")]
    above = only(theirs, says="Logistic regression is above scBERT with all labels.")
    assert above["verdict"] == HOLDS
    assert tuple(above[["value", "low", "high"]]) == pytest.approx((0.0450, 0.0317, 0.0583), abs=1e-4)
    few = only(theirs, says="Logistic regression is above scBERT at every share of the training cells.", fraction=0.1)
    assert few["verdict"] == OPEN, "the printed p value is above 0.05 too"
    equal = only(theirs, says="scBERT without pretraining is as good.")
    assert equal["verdict"] == OPEN, "ten runs against ten do not show that they are the same within the margin"


def test_three_seeds_give_a_t_interval_of_the_pairs_and_two_none():
    values = {("l1_logistic", ""): [0.80, 0.82, 0.81], ("scbert", "pretrained"): [0.70, 0.71, 0.73]}
    runs = counterparts.reproduced(made(values))
    a, b = (runs[runs["model"] == model] for model in ("l1_logistic", "scbert"))
    found = effects.of_runs(a, b)
    gaps = np.array([0.10, 0.11, 0.08])
    half = 4.302653 * gaps.std(ddof=1) / np.sqrt(3)
    ends = gaps.mean() - half, gaps.mean() + half
    assert (found.value, *found.interval(0.95)) == pytest.approx((gaps.mean(), *ends))
    assert found.differs() == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)
    assert found.how == "t over 3 seeds"
    assert np.isnan(effects.of_runs(a[:2], b[:2]).interval(0.95)).all()
    one = effects.of_runs(a[:1], b)  # one fit, which no seed changes
    assert (one.value, one.how) == (pytest.approx(0.8 - b["value"].mean()), "t over 3 seeds")


@pytest.mark.slow
def test_few_seeds_fall_back_on_the_scored_cells(committed):
    runs = counterparts.reproduced(committed)
    runs = runs[(runs["experiment"] == "scbert_annotation") & (runs["tier"] == "quick") & (runs["seed"] < 2)]
    for metric in ("accuracy", "macro_f1_seen"):
        of = runs[runs["metric"] == metric]
        found = effects.of_runs(*(of[of["model"] == model] for model in ("l1_logistic", "scbert")))
        low, high = found.interval(0.95)
        assert found.how == "bootstrap over cells" and len(found.spread) == 2
        assert low < found.value < high
        wider = [spread.ppf(0.025) for spread in found.spread]
        assert low == min(wider), "the widest of the seeds"


def test_only_the_paper_tier_has_a_difference_and_tiers_stay_apart():
    theirs = made({("scbert", "pretrained"): [0.70, 0.72, 0.74]})
    others = made({("scbert", "pretrained"): [0.50, 0.50, 0.50]}).assign(tier="standin", dataset="pbmc_facs")
    others["hyperparameters"] = '{"redraw":false,"stabiliser":"per_cell"}'
    table = overview.numbers(pd.concat([theirs, others], ignore_index=True))
    table = table[(table["place"] == "Table 1") & (table["model"] == "scbert") & (table["metric"] == "accuracy")]
    table = table[table["variant"] == "pretrained"].set_index("tier")
    assert table.loc["paper", "here"] == pytest.approx(0.72)
    assert table.loc["paper", "difference"] == pytest.approx(0.72 - 0.766494, abs=1e-6)
    assert table.loc["paper", "difference_half_width"] == pytest.approx(np.hypot(0.049683, 0.012626), abs=1e-5)
    assert table.loc["standin", "here"] == 0.5
    assert np.isnan(table.loc["standin", "difference"])
    assert table.loc["quick", "missing"] == NONE
    assert table.loc["quick", "command"] == "bench run chapters/scbert_annotation.md -p tier quick"


def test_changed_settings_are_left_out_or_told_apart():
    runs = made({("scbert", "pretrained"): [0.7, 0.7, 0.7, 0.7]})
    runs["hyperparameters"] = ['{"lr":1.0}', '{"lr":2.0}', '{"lr":1.0,"stabiliser":"per_cell"}', '{"lr":1.0}']
    runs.loc[3, "recipe"] = "clean"
    kept = counterparts.reproduced(runs)
    assert list(kept["setting"]) == ["lr=1.0", "lr=2.0"]
    table = overview.numbers(runs)
    assert len(table[(table["place"] == "Table 1") & (table["missing"] == "")]) == 2


def test_the_claim_on_batch_sizes_needs_both_sizes_and_three_seeds(committed):
    asked = ("quick", "hao", quantities.SMALL_BATCHES)
    found = training.training_effect(committed, *asked)
    sizes = {size: committed["hyperparameters"].str.contains(f'"batch_size":{size},') for size in (8, 128)}
    sensitivity = committed[(committed["experiment"] == "sensitivity") & (committed["metric"] == "validation_accuracy")]
    best = {size: sensitivity[rows[sensitivity.index]].groupby("seed")["value"].max() for size, rows in sizes.items()}
    gaps = best[8] - best[128]
    assert (found.value, found.differs()) == pytest.approx((gaps.mean(), stats.ttest_1samp(gaps, 0).pvalue))
    assert found.how == f"t over {len(gaps)} seeds"
    few = committed[committed["seed"] < 2]
    assert training.training_effect(few, *asked).how == "2 seeds, no interval"
    spread = training.training_effect(few, "quick", "hao", quantities.SPREAD)
    assert spread.how == "2 and 2 seeds, no interval"
    assert np.isnan(spread.interval(0.95)).all()
    large = committed["hyperparameters"].str.contains('"batch_size":128')
    assert training.training_effect(committed[~large], *asked) is None
    assert training.training_effect(committed[:0], *asked) is None
    spread = training.ratio_of_spreads(np.array([0.70, 0.72, 0.74]), np.array([0.6, 0.7, 0.8]))
    low, high = spread.interval(0.95)
    assert spread.value == pytest.approx(np.log(5))
    assert (low, high) == pytest.approx((np.log(5) - np.log(39) / 2, np.log(5) + np.log(39) / 2))
    assert spread.above(low) == pytest.approx(0.025) and spread.below(high) == pytest.approx(0.025)


def _tiers(chapter: str) -> dict:
    """Return the TIERS of a chapter, from its cells before the first import."""
    found = {}
    for cell in jupytext.read(ROOT / "chapters" / f"{chapter}.md").cells:
        if cell.cell_type == "code" and "TIERS" not in found:
            exec(cell.source, found)
    return found["TIERS"]


def _asked(command: str, tiers: dict) -> dict:
    tier = re.search(r"-p tier (\w+)", command)[1]
    grid = dict(tiers[tier])
    if dataset := re.search(r"-p dataset (\S+)", command):
        grid["dataset"] = dataset[1]
    if fractions := re.search(r'-p fractions "(.*?)"', command):
        grid["fractions"] = json.loads(fractions[1])
    return grid


@pytest.mark.slow
def test_a_command_makes_the_record_that_its_number_lacks(numbers):
    wanting = numbers[numbers["command"] != ""]
    assert len(wanting) > 100
    for row in wanting.itertuples():
        grid = _asked(row.command, _tiers(row.chapter))
        datasets = [grid["dataset"]] if isinstance(grid["dataset"], str) else grid["dataset"]
        assert row.data in datasets, row.command
        if row.chapter in ("masked_pretraining", "sensitivity"):
            continue  # they have no models or shares to choose
        assert row.fraction in grid.get("fractions", Grid.__dataclass_fields__["fractions"].default_factory()), row
        models = {model.replace("@pretrained", "") for model in grid["models"]}
        for model, variant in quantities.arms_of(row):
            assert (model if variant in ("", "pretrained") else f"{model}@{variant}") in models, row.command


@pytest.mark.slow
@pytest.mark.parametrize(("in_book", "suffix"), [("1", "html"), ("", "md")])
def test_names_of_tables_lead_to_chapters_in_the_book_and_in_a_notebook(
    numbers, comparisons, monkeypatch, in_book, suffix
):
    monkeypatch.setenv("BENCH_BOOK", in_book)
    html = overview.claims_table(comparisons, overview.commands_of(numbers, comparisons)).data
    pages = re.findall(r'href="(\w+)\.(\w+)"', html)
    assert {kind for _, kind in pages} == {suffix}
    assert all((ROOT / "chapters" / f"{page}.md").exists() for page, _ in pages)


@pytest.mark.slow
def test_no_cell_of_either_table_is_blank_and_what_is_missing_leads_to_its_command(numbers, comparisons):
    commands = overview.commands_of(numbers, comparisons)
    listed = overview.commands_table(numbers, commands).data
    for table in (overview.numbers_table(numbers, comparisons, commands), overview.claims_table(comparisons, commands)):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", table.data)
        assert len(cells) > 500
        texts = [re.sub(r"<[^>]+>", "", re.sub(r"<small>.*", "", cell)).strip() for cell in cells]
        assert all(texts), "a cell is blank"
        assert not {"nan", "None", "–"} & set(texts)
        for anchor in set(re.findall(r'href="#([\w-]+)"', table.data)):
            assert f'id="{anchor}"' in listed


@pytest.mark.slow
def test_the_csv_holds_every_row_with_all_digits(numbers, comparisons):
    commands = overview.commands_of(numbers, comparisons)
    html = overview.numbers_table(numbers, comparisons, commands).data
    parts = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])
    rows = list(csv.DictReader("".join(parts).splitlines()))
    assert len(rows) == len(numbers)
    assert len(parts) == 1 + numbers["number"].nunique()
    first = rows[0]
    assert (first["place"], first["published"], first["tier"]) == ("Table 1", "0.766494", "quick")
    assert len(html) < 700_000, "with the other table and the page this must stay below a megabyte"


def test_counts_in_the_prose_agree_with_the_tables(numbers, comparisons):
    facts = overview.facts(numbers, comparisons)
    assert facts["numbers"] == len(quantities.quantities())
    there = numbers[(numbers["tier"] == "standin") & numbers["here"].notna()]
    assert facts["standin-numbers"] == there["number"].nunique() > 0
    of_quick = [count for name, count in facts.items() if name.startswith("quick-") and name != "quick-numbers"]
    assert sum(of_quick) == (comparisons["tier"] == "quick").sum()
    assert facts["published-holds"] + facts["published-not-decided"] + facts["published-not-testable"] == len(
        comparisons[comparisons["tier"] == "published"]
    )


def test_text_in_cells_and_in_the_data_cannot_break_the_page():
    table = pd.DataFrame({"a": [Cell("<b>x</b>", ('"note"',))], "b": ["</script><script>alert(1)</script>"]})
    html = interactive(table, "t", 'say "hi"').data
    assert "<b>" not in html and "<script>alert" not in html
    assert html.count("</script>") == 1
    parts = json.loads(re.search(r'json">(.*)</script>', html)[1])
    assert parts[1] == "<b>x</b>,</script><script>alert(1)</script>\n"


def test_quick_data_without_a_hard_pair_are_named():
    quantity = SimpleNamespace(variant="pretrained", dataset="zheng68k", metric="hard_f1", chapter="scbert_annotation")
    assert counterparts.impossible(quantity, "quick", "hao") == "hao has no hard pair"
    assert counterparts.impossible(quantity, "standin", "pbmc_facs") == ""
    quantity.metric, quantity.variant = "accuracy", "no_gene2vec"
    assert counterparts.impossible(quantity, "paper", "zheng68k") == "weights were not published"


@pytest.fixture
def page(browser, numbers, comparisons, tmp_path):
    """The table of numbers with its script and style, in a browser."""
    table = overview.numbers_table(numbers, comparisons, overview.commands_of(numbers, comparisons)).data
    script, style = ((ROOT / "_static" / f"interactive.{kind}").read_text() for kind in ("js", "css"))
    head = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>t</title><style>{style}</style>"
    (tmp_path / "page.html").write_text(f"{head}<script>{script}</script>{table}", encoding="utf-8")
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    yield page
    assert page.errors == []
    context.close()


def _column(page, header: str) -> list[str]:
    return page.evaluate(
        """(header) => { const table = document.querySelector("table");
        const i = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent == header);
        return [...table.tBodies[0].rows].filter((row) => !row.hidden)
          .map((row) => row.cells[i].dataset.sort ?? row.cells[i].firstChild.textContent); }""",
        header,
    )


@pytest.mark.slow
def test_a_click_on_a_header_sorts_by_number_and_says_so(page):
    header = page.get_by_role("columnheader", name="Published")
    button = header.get_by_role("button")
    assert header.get_attribute("aria-sort") is None
    for direction, sign in (("ascending", 1), ("descending", -1)):
        button.click()
        assert header.get_attribute("aria-sort") == direction
        shown = _column(page, "Published")
        values = [float(text) for text in shown if text != "in words"]
        assert values == sorted(values, reverse=sign < 0)
        assert shown[-2:] == ["in words", "in words"], "what has no value comes last both ways"
    page.get_by_role("columnheader", name="Data").get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") is None
    assert _column(page, "Data") == sorted(_column(page, "Data"), key=str.lower)


@pytest.mark.slow
def test_words_and_menus_filter_together(page, numbers):
    status, total = page.locator("output"), numbers["number"].nunique()
    assert status.inner_text() == f"{total} of {total} rows"
    page.get_by_label("In the paper").select_option("Table 2")
    page.get_by_label("Metric").select_option("Accuracy")
    assert set(_column(page, "In the paper")) == {"Table 2"}
    assert len(_column(page, "Data")) == 5  # three means and two tests
    page.get_by_label("Contains").fill("p value gene2vec")
    assert status.inner_text() == f"1 of {total} rows"
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function(f"document.querySelector('output').value == '{total} of {total} rows'")
    page.get_by_label("Quick").select_option("recorded")
    assert 0 < len(_column(page, "Data")) < total
    page.get_by_label("Contains").press("Enter")  # a form of its own would load the page again
    assert page.get_by_label("Quick").input_value() == "recorded"


@pytest.mark.slow
def test_the_download_holds_what_is_shown_in_its_order(page, numbers):
    page.get_by_label("In the paper").select_option("Table 1")
    page.get_by_label("Contains").fill("accuracy")
    page.get_by_role("columnheader", name="Published").get_by_role("button").click()
    with page.expect_download() as found:
        page.get_by_role("button", name="Download as CSV").click()
    assert found.value.suggested_filename == "numbers.csv"
    with open(found.value.path(), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["place"] for row in rows} == {"Table 1"}
    assert {row["metric"] for row in rows} == {"accuracy", "hard_accuracy"}
    values = [float(row["published"]) for row in rows]
    assert values == sorted(values)
    shown = numbers[(numbers["place"] == "Table 1") & numbers["metric"].str.contains("accuracy")]
    assert len(rows) == len(shown)


@pytest.mark.slow
def test_without_javascript_the_table_is_plain_and_whole(browser, numbers, comparisons, tmp_path):
    table = overview.claims_table(comparisons, overview.commands_of(numbers, comparisons)).data
    (tmp_path / "plain.html").write_text(f"<meta charset='utf-8'>{table}", encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto((tmp_path / "plain.html").as_uri())
    assert plain.locator("tbody tr").count() == (comparisons["tier"] == "published").sum()
    assert plain.locator("button, input, select").count() == 0, "a control that does nothing"
    context.close()


def test_comparisons_name_what_decided_them(comparisons):
    judged = comparisons[comparisons["missing"] == ""]
    assert judged["how"].ne("").all()
    decided = judged[judged["verdict"].isin([HOLDS, FAILS])]
    assert decided[["value", "low", "high"]].notna().all(axis=None)
