"""The script that made the start: its schedule, and that a run that was stopped goes on as if it had not been."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from paper_recipes.letters_start import finishing, packing, training
from paper_recipes.letters_start.network import StartNet, caffe_layers
from paper_recipes.letters_start.training import Settings


def test_sizes_and_rates_follow_the_settings():
    settings = Settings(steps=100)
    sizes = [settings.size_at(step) for step in range(100)]
    assert [sizes.count(size) for size in (96, 128, 160, 227)] == [40, 35, 15, 10] and sizes == sorted(sizes)
    rates = [settings.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.02) and max(rates) == rates[4] == pytest.approx(0.1)
    assert 0 < rates[-1] < 1e-4 and rates[5:] == sorted(rates[5:], reverse=True)


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    settings = dataclasses.replace(Settings(), steps=4, batch=4, sizes=((1.0, 96),))
    straight, _ = training.train(settings, tmp_path / "straight", every=2, say=lambda line: None)
    monkeypatch.setattr(training, "_save", stopping_after(2, training._save))
    with pytest.raises(KeyboardInterrupt):
        training.train(settings, tmp_path / "stopped", every=2, say=lambda line: None)
    monkeypatch.undo()
    said = []
    resumed, _ = training.train(settings, tmp_path / "stopped", every=2, say=said.append)
    assert said[0] == "goes on after step 2"
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def stopping_after(step, save):
    def saved(path, net, optimizer, at, seconds):
        save(path, net, optimizer, at, seconds)
        if at == step:
            raise KeyboardInterrupt

    return saved


@torch.no_grad()
def test_rounding_the_net_is_what_packing_does(tmp_path):
    torch.manual_seed(0)
    net = StartNet(7).eval()
    finishing.round_weights(net)
    layers = caffe_layers(net)
    packing.pack(tmp_path / "net.npz", layers)
    unpacked = packing.unpack(tmp_path / "net.npz")
    assert layers.keys() == unpacked.keys()
    for name, blobs in layers.items():
        scale = 1024 if name.endswith("/bn") else 1
        assert all((a * scale == b).all() for a, b in zip(blobs, unpacked[name])), name
