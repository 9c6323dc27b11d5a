"""Names for runs that people can say, such as ``brisk-Hedwig``: labels beside ids, never instead of them.

A run's name follows from its id. Different runs may share one; :func:`unique` sees to it that those of a study do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

ADJECTIVES = tuple(
    """able airy alert amber ample apt ardent arid ashen astute auburn austere avid azure balmy bare bashful bold
    bonny brave brazen breezy brief bright brisk broad bronze bulky calm candid canny chary chatty cheery chilly
    civil clean clear clever cloudy coarse cobalt comely copper coral cordial cosy crafty crisp curious curly
    dainty dapper daring deft dense dewy dim distant downy dreamy droll dry dusky dusty eager early earnest easy
    elder elfin eminent equal exact fabled fair famed fancy fast fertile festive fiery final fine firm fleet
    fluent foggy fond frank free fresh frosty frugal gallant gaunt gentle giddy gilded glad gleaming glossy
    golden graceful grand grassy grave green gruff hale handy happy hardy hasty hazel hearty heavy hoary hollow
    honest hopeful humble icy idle inland ivory jade jaunty jolly jovial joyful keen kind lanky large lasting
    late lean learned leafy level light lilac limber lithe lively lofty loyal lucid lucky lunar lush magenta
    major marble meek mellow merry mighty mild milky mindful minty misty modest mossy muted narrow neat nimble
    noble noted novel oaken odd olive opal orderly ornate pale patient pearly pensive pert placid plain pliant
    polished polite prim prompt proud prudent quaint quick quiet rapid rare ready regal robust roomy rosy round
    royal ruddy russet rustic sage salty sandy scarlet secret sedate serene sharp shiny shy silent silky silver
    simple sleek slender slim sly smooth snowy sober soft solar solid spare spry stable starry stately steady
    stern still stoic stout subtle sunny supple sure swift tacit tall tame tawny teal tender thrifty tidy timely
    tiny tranquil trim true trusty upright urban valiant vast verdant vernal vivid warm wary wavy western whole
    wide wild windy winged wintry wise witty woody young zealous""".split()  # noqa: SIM905
)

NAMES = tuple(
    """Ada Adele Agatha Agnes Aidan Alba Albert Alice Alma Alois Amelia Anders Anita Anton April Arno Arthur Astrid
    August Aurora Axel Barbara Basil Beata Beatrice Bella Benno Bernard Bertha Bianca Birgit Boris Bruno Camilla
    Carl Carmen Casper Cecilia Celia Chiara Clara Cleo Clemens Conrad Cora Cyril Dagmar Dahlia Damian Daphne
    Daria David Delia Diana Dora Doris Edgar Edith Edmund Edwin Elena Elias Elisa Ella Elmar Elsa Elvira Emil
    Emma Enno Eric Erna Ernest Esther Eugene Eva Fabian Fanny Felix Fergus Fiona Flora Florian Frances Franz
    Freya Frida Fritz Gabriel Gaston Gemma George Gerda Gilbert Gisela Gloria Grace Greta Guido Gustav Hanna
    Harald Harriet Hedwig Heidi Helena Helga Henry Hilda Holger Homer Horace Hubert Hugo Ida Ignaz Igor Ilona
    Ilse Imogen Ines Ingrid Irene Iris Irma Isabel Isidor Ivan Ivo Jakob Janina Jasper Jean Joan Johanna Jonas
    Josef Judith Julian Juno Karin Karla Kaspar Katja Kilian Klara Knut Konrad Lara Lars Laura Leander Lena Leo
    Leonie Leopold Lilian Linda Lisa Livia Lorenz Louis Lucia Ludwig Luisa Lukas Lydia Magda Magnus Maja Malte
    Manuel Marcel Marga Marian Marius Marta Matilda Maurice Max Melina Merle Milan Mina Mira Miriam Moritz Nadia
    Nathan Nelly Nestor Nicola Nils Nina Noel Nora Norbert Olaf Olga Oliver Ophelia Orlando Oscar Oswald Otto
    Ottilie Pamela Pascal Paula Perla Peter Philip Phoebe Quentin Quirin Rafael Ralf Ramona Regina Renata Rex
    Rita Robert Roland Romy Rosa Rufus Rupert Ruth Sabina Samuel Sarah Selma Sibyl Sigrid Silas Simon Sofia
    Stella Sven Sylvia Tamara Thea Theo Thora Tilda Timon Tobias Tristan Ulla Ulrich Una Urban Ursula Valeria
    Vera Verena Victor Viola Virgil Walter Wanda Wendel Werner Wilma Winifred Xaver Yara Yvonne Zita""".split()  # noqa: SIM905
)


def name(run: str, turn: int = 0) -> str:
    """Return the name of a run, from its id.

    Parameters
    ----------
    run
        The id.
    turn
        0; counts up where a name is taken.
    """
    digest = hashlib.blake2b(f"{run}/{turn}".encode(), digest_size=8).digest()
    which, who = divmod(int.from_bytes(digest, "big") % (len(ADJECTIVES) * len(NAMES)), len(NAMES))
    return f"{ADJECTIVES[which]}-{NAMES[who]}"


def unique(runs: Iterable[str]) -> dict[str, str]:
    """Return a name for each run of a study, none of them twice, whatever the order of the ids.

    Of runs that would share a name, that with the smallest id has it, and the others their next.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for run in sorted(set(runs)):
        turn = 0
        while (label := name(run, turn)) in taken:
            turn += 1
        taken.add(label)
        found[run] = label
    return found
