import numpy as np
import pytest
import torch

from bench.core.seeding import derive, generator, numpy_generator, seed_torch


def test_purposes_and_counters_are_independent_and_repeatable() -> None:
    seeds = {derive(s, p, c) for s in range(5) for p in ("init", "dropout") for c in range(20)}
    assert len(seeds) == 200
    assert derive(1, "init") == derive(1, "init")
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_follow_the_derived_seed() -> None:
    first = torch.rand(3, generator=generator(0, "augment", 7))
    assert torch.equal(first, torch.rand(3, generator=generator(0, "augment", 7)))
    assert not torch.equal(first, torch.rand(3, generator=generator(0, "augment", 8)))
    drawn = [numpy_generator(0, "bootstrap").random() for _ in range(2)]
    assert np.isclose(drawn[0], drawn[1])


def test_torch_is_seeded_as_by_its_own_function() -> None:
    torch.manual_seed(7)
    expected = torch.rand(5), torch.empty(5, dtype=torch.int64).random_()
    seed_torch(7, torch.device("cpu"))
    assert torch.equal(torch.rand(5), expected[0])
    assert torch.equal(torch.empty(5, dtype=torch.int64).random_(), expected[1])


def test_a_gpu_is_seeded_where_it_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    seed_torch(7, torch.device("cpu"))
    assert seeds == []
    seed_torch(7, torch.device("cuda"))
    assert seeds == [7]
