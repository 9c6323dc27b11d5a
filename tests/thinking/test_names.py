"""Names of runs: a function of the id, words that may be said, none twice in a study."""

import random

from experiments.thinking import names


def test_a_name_is_an_adjective_and_a_name():
    adjective, name = names.name("abcdefghijklmnop").split("-")
    assert adjective in names.ADJECTIVES
    assert name in names.NAMES
    assert names.name("abcdefghijklmnop") == names.name("abcdefghijklmnop") != names.name("abcdefghijklmnoq")


def test_the_words_are_different_and_of_letters():
    for words in (names.ADJECTIVES, names.NAMES):
        assert len(words) == len(set(words)) > 250
        assert all(word.isalpha() and word.isascii() for word in words)
    assert all(word.islower() for word in names.ADJECTIVES)
    assert all(word.istitle() for word in names.NAMES)


def test_names_are_unique_in_a_study_whatever_the_order():
    runs = [f"run{number}" for number in range(2000)]
    assert len({names.name(run) for run in runs}) < 2000  # some share one: 26 pairs are expected
    found = names.unique(runs)
    assert len(set(found.values())) == len(found) == 2000
    shuffled = random.Random(1).sample(runs, len(runs))
    assert names.unique([*shuffled, *shuffled]) == found
    assert sum(names.name(run) == label for run, label in found.items()) > 1900


def test_names_are_spread():
    drawn = [names.name(str(number)).split("-") for number in range(20_000)]
    assert {adjective for adjective, _ in drawn} == set(names.ADJECTIVES)
    assert {name for _, name in drawn} == set(names.NAMES)
