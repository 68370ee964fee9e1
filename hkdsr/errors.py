"""The one exception that users meet: a sentence that names the file or setting and says what to do."""

from __future__ import annotations


class HkdsrError(Exception):
    """A mistake the user can mend. The command line prints it as one sentence and exits with code 2.

    Every message names the file or the setting at fault and ends with the remedy; it never contains a newline.
    """
