"""The voices of `spoken`: eSpeak NG's English accents and voice variants.

A variant sets formants, pitch and voicing, like a speaker; an accent sets pronunciation. Each
variant belongs to one split, so that splits share no timbre, and speaks in several accents.
Whispering, robot and joke variants are not used.
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

# With 8 accents any odd step visits all before one returns, so a variant's accents differ.
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
        """The name of the voice for eSpeak, and of the speaker in the corpus."""
        return f"{self.accent}+{self.variant}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One utterance to synthesise, with everything that determines its samples."""

    id: str
    split: str
    text: str
    templates: str
    """Origin of the sentence: "trained" (templates of train), "unseen" (templates of valid and test
    only) or "watched"."""
    voice: Voice
    level_db: float
    """Root mean square of the speech, relative to full scale."""
    snr_db: float
    """Level of the speech above that of the noise."""
    noise: str
    """"white" or "pink"."""
    noise_seed: int
    margin_s: float
    """Seconds of noise without speech at the start and at the end."""


def voices(split: str, accents_per_variant: int) -> tuple[tuple[str, str], ...]:
    """The (accent, variant) pairs of a split: each variant with `accents_per_variant` accents."""
    return tuple(
        (ACCENTS[(index + _ACCENT_STRIDE * turn) % len(ACCENTS)], variant)
        # Turn after turn, so that a corpus with few voices has as many variants as it can.
        for turn in range(accents_per_variant)
        for index, variant in enumerate(VARIANTS[split])
    )
