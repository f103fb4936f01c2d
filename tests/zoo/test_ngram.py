"""The Kneser–Ney baseline: its definition, a distribution after any context, the known figures on real text."""

import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.tasks import ngram, text


def by_definition(train, order, vocabulary, discount):
    """The textbook recursion, one probability at a time, over dictionaries of tuples."""
    grams = {k: Counter(tuple(train[i : i + k]) for i in range(len(train) - k + 1)) for k in range(1, order + 1)}
    counts = {order: grams[order]}
    for k in range(1, order):
        counts[k] = Counter(gram[1:] for gram in grams[k + 1])
    after = {k: defaultdict(list) for k in counts}
    for k in counts:
        for gram, count in counts[k].items():
            after[k][gram[:-1]].append(count)

    def probability(context, token, k):
        if k == 0:
            return 1 / vocabulary
        context = tuple(context)[max(0, len(context) - k + 1) :]
        seen = after[k][context] if len(context) == k - 1 else []
        lower = probability(context[1:] if len(context) == k - 1 else context, token, k - 1)
        if not seen:
            return lower
        kept = max(counts[k][(*context, token)] - discount, 0)
        return (kept + discount * len(seen) * lower) / sum(seen)

    return lambda context, token: probability(context, token, order)


def test_a_bigram_of_six_tokens_equals_the_numbers_worked_out_by_hand():
    # 01 twice, 02 once, 10 twice. Continuations: 0, 1 and 2 each follow one kind of token, so P_1 is 1/3 for all.
    model = ngram.KneserNey([0, 1, 0, 1, 0, 2], order=2, vocabulary=3)
    after_zero = [model.probabilities([w], history=[0])[0] for w in range(3)]
    np.testing.assert_allclose(after_zero, [0.5 / 3, 1.25 / 3 + 0.5 / 3, 0.25 / 3 + 0.5 / 3], rtol=1e-12)


small_texts = st.lists(st.integers(0, 4), min_size=6, max_size=60)


@settings(max_examples=60, deadline=None)
@given(train=small_texts, history=st.lists(st.integers(0, 6), max_size=6), order=st.integers(1, 5))
def test_probabilities_sum_to_one_after_any_context(train, history, order):
    model = ngram.KneserNey(train, order=order, vocabulary=7)  # tokens 5 and 6 are never seen in training
    p = [model.probabilities([token], history=history)[0] for token in range(7)]
    assert min(p) > 0
    assert abs(sum(p) - 1) < 1e-12


@settings(max_examples=60, deadline=None)
@given(train=small_texts, query=st.lists(st.integers(0, 6), min_size=1, max_size=20), order=st.integers(1, 5))
def test_the_vectorised_model_equals_the_textbook_recursion(train, query, order):
    reference = by_definition(train, order, 7, 0.75)
    expected = [reference(query[:i], token) for i, token in enumerate(query)]
    model = ngram.KneserNey(train, order=order, vocabulary=7)
    np.testing.assert_allclose(model.probabilities(query), expected, rtol=1e-12)


def test_history_is_context_and_is_not_scored():
    model = ngram.KneserNey([0, 1, 2] * 10, order=3, vocabulary=3)
    np.testing.assert_array_equal(
        model.probabilities([2, 0], history=[0, 1]), model.probabilities([0, 1, 2, 0])[2:]
    )


def test_a_vocabulary_whose_fifth_power_overflows_64_bits_works():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 100_000, 500)
    model = ngram.KneserNey(train, order=5, vocabulary=100_000)
    assert model.probabilities(train[4:5], history=train[:4])[0] > 0.2


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the figures are those of Python 3.11's text")
def test_on_the_text_of_python_3_11_the_figures_are_the_known_ones():
    corpus = text.load()
    vocabulary = text.Vocabulary.of(corpus.text)
    train, held_out = text.split(vocabulary.encode(corpus.text))
    found = ngram.bits_by_order(train, held_out, vocabulary=len(vocabulary))
    assert list(found.values()) == pytest.approx([4.67, 3.34, 2.45, 1.95, 1.76], abs=0.02)  # each 3.11.x has its text


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ([0, 1, 7], {"order": 1}, "token 7 at position 2 is outside the vocabulary 0 … 2"),
        ([0, 1], {"order": 0}, "order 0; it must be at least 1"),
        ([0, 1], {"order": 3}, "2 tokens are too few for order 3"),
        ([0, 1], {"order": 1, "discount": 1.5}, "discount 1.5; it must lie between 0 and 1"),
    ],
)
def test_bad_arguments_are_named(tokens, options, message):
    with pytest.raises(ValueError, match=message):
        ngram.KneserNey(tokens, vocabulary=3, **options)
