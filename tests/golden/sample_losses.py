"""Losses with one bug each, loaded by the tests the way a user's file is."""

import torch


class Right(torch.nn.Module):
    """Contrastive loss on similarities, as Deep_Metric computes it."""

    def __init__(self, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embeddings, labels):
        s = embeddings @ embeddings.T
        same = labels[:, None] == labels
        positive, negative = same & (s.detach() < 1), ~same & (s.detach() > self.margin)
        return (torch.where(positive, 1 - s, 0.0).sum() + torch.where(negative, s, 0.0).sum()) / len(s)


class Means(Right):
    def forward(self, embeddings, labels):
        s = embeddings @ embeddings.T
        same = labels[:, None] == labels
        positive, negative = same & (s.detach() < 1), ~same & (s.detach() > self.margin)
        rows = torch.where(positive, 1 - s, 0.0).sum(1) / positive.sum(1).clamp(min=1)
        rows = rows + torch.where(negative, s, 0.0).sum(1) / negative.sum(1).clamp(min=1)
        return rows.mean()


class Doubled(Right):
    def forward(self, embeddings, labels):
        return 2 * super().forward(embeddings, labels)


class LossOnly(Right):
    def forward(self, embeddings, labels):
        value = super().forward(embeddings, labels)
        return value + 2 * value.detach()


def not_a_number(embeddings, labels):
    return embeddings.sum() * float("nan")


def infinite_gradient(embeddings, labels):
    return (embeddings[0] - embeddings[0].detach()).norm() + (embeddings[1] * 0).sqrt().sum()


def per_sample(embeddings, labels):
    return embeddings.sum(1)


def detached(embeddings, labels):
    return embeddings.detach().sum()


def python_number(embeddings, labels):
    return 0.5


def raises(embeddings, labels):
    raise RuntimeError("not today")


def in_place(embeddings, labels):
    y = embeddings.exp()
    z = y.sum()
    y += 1
    return z * 1 + (y * y).sum() if len(y) < 0 else (y.exp_() * y).sum()


def as_tuple(embeddings, labels):
    return Right()(embeddings, labels), 0.1, 0.2


def as_dict(embeddings, labels):
    return {"loss": Right()(embeddings, labels)}


def labels_then_embeddings(labels, embeddings):
    return Right()(embeddings, labels)


def from_similarities(s, labels):
    same = labels[:, None] == labels
    positive, negative = same & (s.detach() < 1), ~same & (s.detach() > 0.5)
    return (torch.where(positive, 1 - s, 0.0).sum() + torch.where(negative, s, 0.0).sum()) / len(s)


def random_noise(embeddings, labels):
    return Right()(embeddings, labels) + torch.rand(()) * embeddings.sum()


def order_dependent(embeddings, labels):
    return (embeddings * torch.arange(len(embeddings)).to(embeddings)[:, None]).sum()


def label_dependent(embeddings, labels):
    return (embeddings * labels[:, None]).sum()


NOT_CALLABLE = 3
