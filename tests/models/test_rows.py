import pytest
import torch
import torch.nn.functional as F

from pipeline.models.rows import cosine, maximum

MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])


@pytest.fixture
def x() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, 4, generator=draw, dtype=torch.float64, requires_grad=True)


def test_the_cosine_is_that_of_torch(x):
    torch.testing.assert_close(cosine(x, x.flip(0)), F.cosine_similarity(x, x.flip(0), dim=-1))


def test_the_cosine_of_a_zero_row_is_zero(x):
    assert not cosine(x, torch.zeros_like(x)).any()


def test_the_maximum_is_over_the_others_too(x):
    whole, others = maximum(x, MASK)
    for row, length in enumerate((3, 2, 1)):
        torch.testing.assert_close(whole[row], x[row, :length].amax(dim=0))
        for t in range(length):
            rest = [x[row, k] for k in range(length) if k != t] or [torch.zeros(4).double()]
            torch.testing.assert_close(others[row, t], torch.stack(rest).amax(dim=0))


def test_of_equal_positions_each_sees_the_other():
    """A user who begins with one item twice has two equal states, up to their last digits."""
    twice = torch.tensor([[[3.0], [3.0], [1.0]]], requires_grad=True)
    whole, others = maximum(twice, MASK[:1])
    assert others[0, :, 0].tolist() == [3.0, 3.0, 3.0]
    almost = twice.detach() - torch.tensor([[[1e-7], [0.0], [0.0]]])
    torch.testing.assert_close(maximum(almost, MASK[:1])[1], others)
    (whole.sum() + others.sum()).backward()
    assert not twice.grad[0, 2]


def test_the_gradients_are_those_of_the_functions(x):
    other = x.detach().flip(0).requires_grad_()
    assert torch.autograd.gradcheck(cosine, (x, other))
    assert torch.autograd.gradcheck(lambda y: maximum(y, MASK), (x,))
