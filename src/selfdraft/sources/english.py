"""Is a text English? A rule small enough to state: letters and the little words."""

import re
from collections import Counter

WORD = re.compile(r"[^\W\d_]+")
SAMPLE = 3000  # characters looked at

# Words that are English too (in, is, a, to, do, me, no …) stand in the English list only.
LITTLE_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the and of to is in a that you for with this it are on as be can have what how from or i",
        "Spanish": "el la los las de que y en un una por para es del se su como más",
        "French": "le la les de des et un une est que dans en du il vous je sur avec pas",
        "German": "der das und ist ein eine zu den von mit nicht ich sie für auf es im dem wie",
        "Italian": "il la di che e un una per è con del sono non le da si della più",
        "Portuguese": "os de que e um uma para com não em da por se mais são você ao na",
        "Dutch": "de het een en van dat te voor met niet zijn aan er ook als bij je",
        "Swedish": "och att det som en på är av för med den till inte har jag ett kan",
        "Polish": "w na się nie że jest jak po za od dla są czy przez tym który oraz",
        "Turkish": "ve bir bu için ile da olarak daha çok gibi olan var mı en kadar sonra ben değil",
        "Indonesian": "yang dan di dengan untuk dari ini itu pada tidak dalam adalah ke saya akan atau juga",
        "Vietnamese": "và của là có không cho được các một những trong với này để người khi đã tôi bạn",
        "Finnish": "ja ei että hän oli mutta kun olen tai myös jos joka ovat niin kuin sen minä",
        "Romanian": "și de la în cu pe care nu este un din mai ce să sau sunt",
    }.items()
}


def is_english(text: str, fewest_words: int = 0) -> bool:
    """True if 9 of 10 letters are a–z, and no other language's little words outnumber the English ones.

    Code counts by its keywords and comments; a text without any little word passes if its letters do,
    and so does one of fewer than `fewest_words` words, whose little words say nothing yet.
    """
    words = Counter(WORD.findall(text[:SAMPLE].lower()))
    letters = sum(len(word) * count for word, count in words.items())
    foreign = sum(
        count * sum(not letter.isascii() for letter in word) for word, count in words.items() if not word.isascii()
    )
    if foreign > 0.1 * letters:
        return False
    if sum(words.values()) < fewest_words:
        return True
    found = words.keys()
    hits = {name: sum(words[word] for word in little & found) for name, little in LITTLE_WORDS.items()}
    return hits["English"] >= max(hits.values())
