import torch

from diffserve.embedded.tokenizer import MAX_TOKENS, build_tokenizer, tokenize


def test_case_punctuation_and_articles_do_not_matter():
    tokenizer = build_tokenizer()
    plain = tokenizer("flat style a owl").input_ids
    assert tokenizer("Flat style, an owl!").input_ids == plain


def test_an_empty_caption_is_the_start_token_alone():
    tokenizer = build_tokenizer()
    assert tokenizer("").input_ids == [tokenizer.bos_token_id]


def test_rows_do_not_depend_on_each_other():
    tokenizer = build_tokenizer()
    ids, mask = tokenize(tokenizer, ["an owl", "a cat to the left of a dog"])
    alone, _ = tokenize(tokenizer, ["an owl"])
    assert ids.shape == mask.shape == (2, MAX_TOKENS)
    assert torch.equal(ids[:1], alone)
    assert mask[0].sum() == 3


def test_long_captions_are_cut():
    ids, _ = tokenize(build_tokenizer(), ["owl " * 100])
    assert ids.shape == (1, MAX_TOKENS)


def test_a_saved_tokenizer_is_the_same(tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path, local_files_only=True)
    text = "flat style, an owl, sky blue background"
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.model_max_length == MAX_TOKENS
