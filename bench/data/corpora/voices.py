"""Who speaks in `spoken`: eSpeak NG's English accents and its variants of the voice.

A variant shifts formants, pitch and voicing, which makes it a person; an accent is how that person
was brought up. Variants are dealt to the splits, so no split hears a timbre of another, and each
is heard in several accents. Whispers, robots and joke voices are not dealt.
"""

from dataclasses import dataclass

ACCENTS = (
    "en-us",
    "en",  # eSpeak's name for British English
    "en-gb-scotland",
    "en-us-nyc",
    "en-gb-x-rp",
    "en-029",  # Caribbean
    "en-gb-x-gbclan",  # Lancaster
    "en-gb-x-gbcwmd",  # West Midlands
)

VARIANTS = {
    "train": (
        "m1", "f1", "m2", "Alicia", "m3", "Andrea", "m4", "f3", "m7", "anika", "m8",
        "Alex", "steph", "Andy", "shelby", "Denis", "Diogo", "Gene", "Jacky", "Michael",
        "antonio", "david", "edward2", "marcelo", "miguel", "pablo", "paul", "victor", "grandpa",
        "Gene2", "aunty", "Henrique", "belinda", "Lee", "Marco", "Mario", "Mike", "benjamin",
        "boris", "ed", "edward", "gustave", "ian", "iven", "john", "quincy", "rob", "steph2",
        "michel", "Hugo", "announcer", "Reed", "mike2", "sandro", "Storm", "klatt", "klatt2",
        "klatt4",
    ),
    "valid": ("m5", "Annie", "max", "grandma"),
    "test": (
        "m6", "f4", "adam", "f5", "norbert", "pedro", "linda", "Nguyen", "travis", "robert",
        "zac", "kaukovalta",
    ),
    "watch": ("f2",),
}  # fmt: skip

_ACCENT_STRIDE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """One speaker."""

    accent: str
    variant: str
    words_per_minute: int
    pitch: int
    """0 to 99 on eSpeak's scale, 50 for the variant's own."""

    @property
    def name(self) -> str:
        """As eSpeak is asked for it; also the speaker's name in the corpus."""
        return f"{self.accent}+{self.variant}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One utterance to be spoken, with everything that decides its samples."""

    id: str
    split: str
    text: str
    templates: str
    """Where the sentence is from: "trained" templates, "unseen" ones that train has not, or
    "watched"."""
    voice: Voice
    level_db: float
    """Root mean square of the speech, relative to full scale."""
    snr_db: float
    """Level of the speech above that of the noise."""
    noise: str
    """"white" or "pink"."""
    noise_seed: int
    margin_s: float
    """Length of the noise alone before and after the speech."""


def voices(split: str, accents_per_variant: int) -> tuple[tuple[str, str], ...]:
    """The (accent, variant) pairs of a split: each variant in so many accents, dealt in turn."""
    return tuple(
        (ACCENTS[(index + _ACCENT_STRIDE * turn) % len(ACCENTS)], variant)
        for turn in range(accents_per_variant)
        for index, variant in enumerate(VARIANTS[split])
    )
