"""The word-level tokenizer shared by the embedded models."""

from __future__ import annotations

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from diffserve.embedded.captions import vocabulary

#: Longest caption in tokens, the start token included; shorter ones are padded to this length.
MAX_TOKENS = 32

_PAD, _UNKNOWN, _START = "[PAD]", "[UNK]", "[START]"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer of the caption vocabulary.

    It lower-cases, ignores punctuation and reads "an" as "a". The empty caption, which stands
    for "anything", becomes the start token alone.

    Returns:
        A tokenizer that can be saved with ``save_pretrained``.
    """
    words = [_PAD, _UNKNOWN, _START, *(word for word in vocabulary() if word != "an")]
    table = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(table, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[^a-z0-9]+"), " "),
            normalizers.Replace(Regex(r"\ban\b"), "a"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A", special_tokens=[(_START, table[_START])]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=MAX_TOKENS,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        bos_token=_START,
        padding_side="right",
    )


def tokenize(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, each int64 of shape (B, max tokens).

    Padding always reaches the maximum, so a caption's encoding does not depend on its neighbours.
    """
    encoded = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    return encoded.input_ids.to(device), encoded.attention_mask.to(device)
