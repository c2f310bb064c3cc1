import pytest

from selfdraft.sources.english import is_english


@pytest.mark.parametrize(
    "text",
    [
        "What is the best way to learn a language?",
        "import os\nfor name in os.listdir('.'):\n    print(name)",
        "She wrote naïve café reviews for the house.",
        "12 + 30 = 42",
        "",
    ],
)
def test_english_and_code_pass(text):
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "¿Cuál es la mejor manera de aprender una lengua?",
        "Quelle est la meilleure façon d'apprendre une langue dans les écoles ?",
        "Was ist der beste Weg, eine Sprache zu lernen und zu sprechen?",
        "Wat is de beste manier om een taal te leren, en hoe lang duurt het?",
        "Qual é a melhor maneira de aprender uma língua?",
        "какой язык лучше учить",
        "学习语言的最好方法是什么",
        "언어를 배우는 가장 좋은 방법은 무엇입니까",
        "Làm thế nào để học một ngôn ngữ",
    ],
)
def test_other_languages_do_not(text):
    assert not is_english(text)
