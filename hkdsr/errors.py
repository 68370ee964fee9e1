"""The one exception that users meet: a sentence that names the file or setting and says what to do."""

from __future__ import annotations

LONGEST_WORD, LONGEST = 160, 480


class HkdsrError(Exception):
    """A mistake that the user can correct. The command line prints it as one sentence and exits with code 2.

    Every message names the file or the setting at fault and ends with the remedy. It is one line of at most 480
    characters, whatever names and values are in it: the middle of longer ones is left out.
    """

    def __init__(self, message: str) -> None:
        words = (_shortened(word, LONGEST_WORD) for word in message.split())
        super().__init__(_shortened(" ".join(words), LONGEST))


class WriteError(HkdsrError):
    """A file cannot be written: the disk is full, or the folder closed, so that the next one will fail as well."""


def _shortened(text: str, longest: int) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"
