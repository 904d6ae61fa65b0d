"""Memories of past embeddings for pair losses (Wang et al., Cross-Batch Memory, CVPR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ports.losses._inputs import check_embeddings, check_labels, refuse
from ports.losses._pair_loss import PairLoss, check_variant


class CrossBatchMemory(nn.Module):
    """A pair loss of the batch against the last `memory_size` embeddings, which it keeps, detached.

    `loss` is any pair loss that is called as loss(embeddings, labels, indices_tuple, ref_emb, ref_labels): ours, or
    pytorch-metric-learning's. `forward(embeddings (N, embedding_dim), labels (N,)) -> scalar` enqueues the batch, then
    returns loss(batch) + weight * loss(batch, memory); the first `start_iteration` calls return loss(batch) and store
    nothing. Labels are whole numbers.

    variant:
      "as_released"  research-xbm, modeling/xbm.py. The memory is no wrapping ring: a batch that does not fit behind the
                     pointer overwrites the LAST rows and the pointer returns to 0, so that with 10 rows and batches of 4
                     fresh rows are lost and rows 4 and 5 live longer (a ring would drop the oldest). "Full" means that
                     the last stored label is not 0: with a label 0 there only the rows before the pointer take part, none
                     at all right after a return. The batch's own copies are removed by the loss, by value: give it
                     `cutoff=1 - 1e-5`, as that repository does.
      "paper"        a first-in first-out ring; each anchor's own copy is excluded by its index.
    `include_batch=False` leaves loss(batch) out, as the paper's algorithm 1 is printed; the release adds it.
    Width 128 is hard coded in the release; here it is `embedding_dim`.
    """

    embeddings: Tensor
    labels: Tensor

    def __init__(
        self,
        loss: nn.Module,
        embedding_dim: int,
        memory_size: int,
        *,
        weight: float = 1.0,
        start_iteration: int = 0,
        include_batch: bool = True,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        if memory_size < 1:
            raise ValueError(f"memory_size must be at least 1, got {memory_size}")
        self.loss = loss
        self.weight = weight
        self.start_iteration = start_iteration
        self.include_batch = include_batch
        self.pointer = 0
        self.stored = 0
        self.iteration = 0
        self.register_buffer("embeddings", torch.zeros(memory_size, embedding_dim))
        self.register_buffer("labels", torch.zeros(memory_size, dtype=torch.int64))

    @property
    def memory_size(self) -> int:
        return self.labels.shape[0]

    @property
    def is_full(self) -> bool:
        """Whether all rows take part; as released, whether the last row's label is not 0."""
        if self.variant == "as_released":
            return bool(self.labels[-1] != 0)
        return self.stored >= self.memory_size

    def get(self) -> tuple[Tensor, Tensor]:
        """The (M, embedding_dim) embeddings and (M,) labels that take part."""
        if self.is_full:
            return self.embeddings, self.labels
        return self.embeddings[: self.pointer], self.labels[: self.pointer]

    def enqueue(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Store a batch; returns the (N,) rows it was written to. ValueError when the batch exceeds the memory."""
        x = check_embeddings(embeddings).detach()
        labels = check_labels(labels, x)
        count = len(x)
        if count > self.memory_size or x.shape[1] != self.embeddings.shape[1]:
            raise ValueError(f"a batch {tuple(x.shape)} does not fit a memory of {tuple(self.embeddings.shape)}")
        if labels.is_floating_point() and bool((labels != labels.round()).any()):
            raise ValueError("CrossBatchMemory stores whole labels, but one has a fraction")
        rows = torch.arange(count, device=x.device)
        if self.variant == "paper":
            rows = (self.pointer + rows) % self.memory_size
            self.pointer = (self.pointer + count) % self.memory_size
        elif self.pointer + count > self.memory_size:
            rows = rows + self.memory_size - count
            self.pointer = 0
        else:
            rows = rows + self.pointer
            self.pointer += count
        # New tensors, never in place: the previous contents may still be part of a graph that waits for its backward.
        # index_copy's rows are distinct, so this is deterministic.
        self.embeddings = self.embeddings.to(x).index_copy(0, rows, x)
        self.labels = self.labels.to(x.device).index_copy(0, rows, labels.long())
        self.stored = min(self.stored + count, self.memory_size)
        return rows

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        refuse(self, indices_tuple=indices_tuple, ref_emb=ref_emb, ref_labels=ref_labels)
        self.iteration += 1
        if self.iteration <= self.start_iteration:
            return self.loss(embeddings, labels)
        rows = self.enqueue(embeddings, labels)
        total = self.weight * self._memory_loss(embeddings, labels, rows)
        return self.loss(embeddings, labels) + total if self.include_batch else total

    def _memory_loss(self, embeddings: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        memory, memory_labels = self.get()
        if self.variant == "as_released":
            return self.loss(embeddings, labels, None, memory, memory_labels)
        own_copy = rows[:, None] == torch.arange(len(memory), device=rows.device)
        if isinstance(self.loss, PairLoss):
            return self.loss(embeddings, labels, None, memory, memory_labels, exclude=own_copy)
        same = labels.to(memory_labels.device)[:, None] == memory_labels
        pairs = (same & ~own_copy).nonzero(as_tuple=True) + (~same).nonzero(as_tuple=True)
        return self.loss(embeddings, labels, pairs, memory, memory_labels)

    def get_extra_state(self) -> Tensor:
        """(3,) int64: pointer, rows stored, calls so far; with the buffers it makes a resumed run exact."""
        return torch.tensor([self.pointer, self.stored, self.iteration])

    def set_extra_state(self, state: Tensor) -> None:
        self.pointer, self.stored, self.iteration = (int(value) for value in state)


class DatasetMemory:
    """One embedding per image of a data set, and a queue of the images whose embeddings take part.

    research-ms-loss, modeling/xbm.py (it cannot be imported as committed: it needs a function that does not exist).
    `embeddings` (n, D), `labels` (n,) and `indices` (n,) come in the order in which a loader yields the data set; the
    queue holds the last int(n * ratio) image indices and starts with a random choice of the FIRST int(n * ratio) of the
    loader. An image that is in the queue twice takes part twice, both times with its newest embedding. With ratio 1 there is
    no queue (`queue` is None): every image takes part once.

    variant:
      "as_released"  embeddings and labels are kept in the loader's order, but updated and read by image index: right only
                     for a loader that does not shuffle. With int(n * ratio) = 0 the queue never shrinks (`[-0:]`).
      "paper"        both are put in image order first, the queue starts from the whole data set, and int(n * ratio) = 0
                     raises ValueError.
    """

    def __init__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices: Tensor,
        ratio: float,
        *,
        generator: torch.Generator | None = None,
        variant: str = "as_released",
    ) -> None:
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        self.embeddings = check_embeddings(embeddings).detach().clone()
        self.labels = check_labels(labels, embeddings).clone()
        indices = check_labels(indices, embeddings, name="indices").long()
        if not torch.equal(indices.sort().values, torch.arange(len(indices), device=indices.device)):
            raise ValueError(f"indices must hold each image index 0..{len(indices) - 1} once, in the loader's order")
        self.length = int(len(labels) * ratio)
        choices = self.length
        if variant == "paper":
            if self.length == 0:
                raise ValueError(f"ratio {ratio} of {len(labels)} images leaves an empty memory")
            order = indices.argsort()
            self.embeddings, self.labels, choices = self.embeddings[order], self.labels[order], len(labels)
        self.queue: Tensor | None = None
        if ratio < 1:
            drawn = torch.randperm(choices, generator=generator)[: self.length]
            self.queue = indices[drawn.to(indices.device)]

    def enqueue(self, embeddings: Tensor, indices: Tensor) -> None:
        """Replace the embeddings of the images `indices` (N,) and append them to the queue."""
        embeddings = check_embeddings(embeddings).detach()
        indices = check_labels(indices, embeddings, name="indices").long()
        # Of an image that is in the batch twice the later row stays, which index_copy alone does not promise.
        repeats = (indices[:, None] == indices[None, :]).triu(1).any(1)
        self.embeddings = self.embeddings.index_copy(0, indices[~repeats], embeddings[~repeats].to(self.embeddings))
        if self.queue is not None:
            self.queue = torch.cat([self.queue, indices.to(self.queue)])[-self.length :]

    def get(self) -> tuple[Tensor, Tensor]:
        """The queue's (M, D) embeddings and (M,) labels, oldest first; everything as stored without a queue."""
        if self.queue is None:
            return self.embeddings, self.labels
        return self.embeddings[self.queue], self.labels[self.queue]
