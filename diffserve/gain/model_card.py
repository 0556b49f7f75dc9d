"""What a trained head's folder says of it, for people."""

from __future__ import annotations

from dataclasses import dataclass

from diffserve.gain.training import GRADED_FRACTION, Routing, TrainedPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How images were judged.

    Attributes:
        judge: Name of the preference model.
        features: Name of the network under the heads.
        best: The best single variant.
        num_trained: Prompts that heads were trained on.
        num_graded: Other prompts, on which everything was measured.
    """

    judge: str
    features: str
    best: str
    num_trained: int
    num_graded: int

    @property
    def metric(self) -> str:
        """What quality means."""
        return (
            f"chance that {self.judge} prefers the answer to the image of {self.best} for the same "
            "prompt; 0.5: as good (prompts held out)"
        )


def model_card(pair: TrainedPair, routing: Routing, judged: Judged) -> str:
    """Return a card in Markdown."""
    share = f"{100 * GRADED_FRACTION:.0f} %"
    return f"""# {pair.name.discriminator}

Predicts, from an image that `{pair.name.light}` drew and its prompt, how much better
`{pair.name.heavy}` would have drawn it. The more that is, the less confidence it tells: 0.5 where
nothing is to be gained. Made by `diffserve cascade build --registry`, for this pair only.

* **What it is**: a linear map, by ridge regression, of the features of image and prompt in
  `{judged.features}`, which is not in this folder, of their product and of its sum.
* **Quality** is the {judged.metric}.
  The judge is a model too: this head was taught to like what it likes.
* **Trained** on {judged.num_trained} prompts. Gains that heads predicted which were trained on all
  others correlate with the true ones by {pair.correlation:.2f}.
* **Graded** on {judged.num_graded} other prompts, with {share} deferred: quality
  {routing.head:.3f}; {routing.random:.3f} by chance, {routing.similarity:.3f} by the untrained
  similarity of image and prompt, {routing.oracle:.3f} by who knows both images.
* The light image is the better one for {100 * routing.light_better:.0f} % of those prompts.
"""
