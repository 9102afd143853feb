import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pipeline.config import ModelConfig
from pipeline.models.aligner import Aligner, gumbel_mask, sum_of_cosines
from pipeline.models.backbones import BACKBONES, build
from pipeline.models.batches import Sequences, gather, windows
from pipeline.models.losses import Negatives

CONFIG = ModelConfig(dim=4, hidden=4, semantic_dim=4, dropout=0.0)
SEQUENCES = Sequences(
    item_N=torch.tensor([1, 2, 3, 4, 2]),
    text_N=torch.tensor([1, 0, 3, 4, 2]),
    length_U=torch.tensor([3, 2]),
)
TEXT = torch.cat([torch.zeros(1, 4), torch.arange(16.0).reshape(4, 4).sin()])


@pytest.fixture(params=sorted(BACKBONES))
def aligner(request) -> Aligner:
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"backbone": request.param})
    return Aligner(build(4, config), config)


@pytest.fixture
def batch():
    return gather(SEQUENCES, windows(SEQUENCES.length_U, 5, 1), torch.tensor([0, 1]))


def test_views_match_a_loop_over_users_and_positions(aligner, batch):
    views = aligner.views(batch, TEXT)
    for row, (first, length) in enumerate([(0, 3), (3, 2)]):
        items, texts = (x[first : first + length] for x in (SEQUENCES.item_N, SEQUENCES.text_N))
        states = aligner.backbone.states(items.unsqueeze(0))[0]
        for t in range(length):
            others = [k for k in range(length) if k != t]
            before = states[t - 1] if t else aligner.backbone.empty
            torch.testing.assert_close(views.c_XD[row, t], states[t])
            torch.testing.assert_close(views.before_XD[row, t], before)
            torch.testing.assert_close(views.s_XD[row, t], aligner.short(TEXT[texts[t]]))
            torch.testing.assert_close(views.c_others_XD[row, t], states[others].amax(dim=0))
            long = aligner.long(TEXT[texts[others]].sum(dim=0))
            torch.testing.assert_close(views.s_others_XD[row, t], long)
        torch.testing.assert_close(views.c_BD[row], states.amax(dim=0))
        torch.testing.assert_close(views.s_BD[row], aligner.long(TEXT[texts].sum(dim=0)))


@pytest.mark.parametrize("prefixes", [False, True])
def test_of_chosen_positions_the_views_are_the_same(aligner, batch, prefixes):
    if prefixes:
        batch = replace(batch, prefix_BLP=torch.arange(24.0).reshape(2, 3, 4).cos())
    chosen_BL = torch.tensor([[True, False, True], [False, True, False]])
    whole, some = aligner.views(batch, TEXT), aligner.views(batch, TEXT, chosen_BL)
    for name, x in vars(whole).items():
        wanted = x if x.dim() == 2 else x[chosen_BL]
        torch.testing.assert_close(getattr(some, name), wanted)


def test_with_prefixes_the_texts_are_those_up_to_each_position_and_of_the_whole(aligner, batch):
    prefix_NP = torch.arange(20.0).reshape(5, 4).cos()
    joined = replace(SEQUENCES, prefix_NP=prefix_NP)
    cut = windows(SEQUENCES.length_U, 5, 1)
    with_prefixes = gather(joined, cut, torch.tensor([0, 1]))
    views = aligner.views(with_prefixes, TEXT)
    for row, (first, length) in enumerate([(0, 3), (3, 2)]):
        last = aligner.long(prefix_NP[first + length - 1])
        torch.testing.assert_close(views.s_BD[row], last)
        for t in range(length):
            short = aligner.short(prefix_NP[first + t])
            torch.testing.assert_close(views.s_XD[row, t], short)
            torch.testing.assert_close(views.s_others_XD[row, t], last)
    assert not with_prefixes.prefix_BLP[1, 2].any()  # padding
    plain = aligner.views(batch, TEXT)
    torch.testing.assert_close(views.c_others_XD, plain.c_others_XD)


def test_the_noise_logit_is_the_sum_of_three_cosines(aligner, batch):
    views = aligner.views(batch, TEXT)
    found = sum_of_cosines(views)
    for row, t in torch.nonzero(batch.mask_BL):
        c_t, before, s_t, c_L, s_L = (
            getattr(views, name)[row, t]
            for name in ("c_XD", "before_XD", "s_XD", "c_others_XD", "s_others_XD")
        )
        pairs = [(s_L, c_t), (c_L, s_t), (before, s_t)]
        wanted = sum(F.cosine_similarity(a, b, dim=0) for a, b in pairs)
        torch.testing.assert_close(found[row, t], wanted)


def test_an_item_does_not_vouch_for_itself(aligner, batch):
    """Another text of the item leaves all that it is judged by as it was."""
    changed = TEXT.clone()
    changed[4] += 1  # the item of row 1, position 0
    one, other = (aligner.views(batch, text) for text in (TEXT, changed))
    assert not torch.equal(one.s_XD[1, 0], other.s_XD[1, 0])
    for name in ("c_others_XD", "s_others_XD", "before_XD"):
        torch.testing.assert_close(getattr(one, name)[1, 0], getattr(other, name)[1, 0])


def test_the_mask_is_hard_and_its_gradient_reaches_the_noise_logit():
    logit = torch.zeros(200, requires_grad=True)
    mask = gumbel_mask(logit, 0.5, torch.Generator().manual_seed(0))
    assert set(mask.tolist()) == {0.0, 1.0}
    mask.sum().backward()
    assert (logit.grad > 0).all()


def test_without_evidence_most_interactions_stay():
    mask = gumbel_mask(torch.zeros(5000), 0.5, torch.Generator().manual_seed(0))
    assert mask.mean() == pytest.approx(1 / (1 + math.exp(-2)), abs=0.02)


def test_the_mask_reaches_the_recommender(aligner, batch):
    """The semantic maps enter the next-item loss through the mask, and only through it."""
    negatives = Negatives(torch.arange(1, 5), torch.zeros(4))
    draw = torch.Generator().manual_seed(0)
    aligner.losses(batch, TEXT, negatives, 1.0, draw)["next_item"].backward()
    assert aligner.short.weight.grad.abs().sum() > 0


def test_users_whose_views_disagree_are_not_masked(aligner, batch):
    negatives = Negatives(torch.tensor([1, 2, 3, 4]), torch.zeros(4))
    plain = aligner.backbone_loss(batch, negatives)

    def masked(gate: float) -> set[float]:
        aligner.config = CONFIG.model_copy(update={"user_gate": gate})
        draws = (torch.Generator().manual_seed(seed) for seed in range(20))
        return {
            round(aligner.losses(batch, TEXT, negatives, 1.0, d)["next_item"].item(), 5)
            for d in draws
        }

    assert masked(1.0) == {round(plain.item(), 5)}  # no pair of views agrees by more than 1
    assert len(masked(-1.0)) > 1
