"""The sentences of `spoken`: templates with slots, and the phrases that fill them.

Phrases are drawn without replacement from a shuffled list, which is shuffled again when it is
exhausted, so that all phrases of a slot are about equally frequent. Text is spelled as it is
scored: lower case, numbers in words.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

_SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Templates and phrases of sentences, and the sentences of the watch split."""

    templates: tuple[str, ...]
    """Sentences with ``{slot}`` places."""
    slots: Mapping[str, tuple[str, ...]]
    """The phrases that each slot takes."""
    watch: Mapping[str, str]
    """Sentences, by name, whose transcripts are recorded during training. No drawn sentence shares
    three consecutive words with one of them, so that a trigram language model of the training text
    has not seen their trigrams."""
    unseen_templates: tuple[str, ...] = ()
    """Templates used in valid and test only: a language model of the training text has seen their
    words but not their order, so that its gain is not overestimated."""


def draw_sentences(
    grammar: Grammar, count: int, rng: random.Random, templates: tuple[str, ...] | None = None
) -> list[str]:
    """`count` different sentences of `templates` (the grammar's own if None), in random order."""
    decks = {name: _Deck(phrases, rng) for name, phrases in grammar.slots.items()}
    deck = _Deck(templates or grammar.templates, rng)
    watched = {trigram for sentence in grammar.watch.values() for trigram in trigrams(sentence)}
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        template = deck.draw()
        filled = [(slot, decks[slot].draw()) for slot in _SLOT.findall(template)]
        sentence = _SLOT.sub("{}", template).format(*(phrase for _, phrase in filled))
        # The last phrase before a reshuffle may be the first one after it: no "bread and bread".
        if len(set(filled)) == len(filled) and not watched & trigrams(sentence):
            drawn[sentence] = None
    return shuffled(list(drawn), rng)


def trigrams(sentence: str) -> set[tuple[str, ...]]:
    """The distinct runs of three words of `sentence`."""
    words = sentence.split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def shuffled(items: list[str], rng: random.Random) -> list[str]:
    """A shuffled copy, by ``random()``: the only method whose sequence Python guarantees."""
    return [item for _, item in sorted((rng.random(), item) for item in items)]


class _Deck:
    def __init__(self, cards: tuple[str, ...], rng: random.Random) -> None:
        self._cards, self._rng, self._left = list(cards), rng, list[str]()

    def draw(self) -> str:
        self._left = self._left or shuffled(self._cards, self._rng)
        return self._left.pop()


def _slots(text: str) -> dict[str, tuple[str, ...]]:
    """Slots written as ``name: phrase, phrase, …``; continuation lines are indented."""
    entries = (entry.split(": ") for entry in text.replace("\n  ", " ").splitlines())
    return {name: tuple(phrases.split(", ")) for name, phrases in entries}


_TEMPLATES = """\
{person} {did} the {quality} {thing} in {place}
the {thing} is {where} the {furniture}
there is a {color} {thing} {where} the {furniture} in {place}
please put the {thing} {where} the {furniture}
who left the {thing} {where} the {furniture}
did you see my {color} {thing}
{person} {did} a {color} {thing} {past}
i can't find the {quality} {thing}
open the {opening} and close the {opening}
please close the {opening} before you go
the {device} in {place} is broken
turn {onoff} the {device} in {place}
{name} is cooking {food} and {food}
would you like some {food} with your {food}
we need more {food} and a little {food}
how much does the {food} cost
i would like a cup of {drink} please
don't forget to buy {food} and {drink}
it will be {weather} in {city} {future}
it was {weather} and {weather} {past}
is it going to {falls} {future}
the {sky} was beautiful {past}
look at the {sky} and the {sky}
it's too {weather} to {verb} in {place}
there was snow in {city} in {month}
take a {thing} because it is {weather}
the {transport} to {city} leaves at {hour} {minute}
how do i get to {place}
turn {side} at {place} and walk for {number} minutes
{name} is flying to {city} on {day}
we took the {transport} from {city} to {city}
{number} tickets to {city} please
when does the next {transport} arrive
the {transport} was {number} minutes late
the road to {city} is {number} miles long
her birthday is on the {ordinal} day of {month}
they will visit {city} in {month}
take the {ordinal} street on the {side}
my number is {digit} {digit} {digit} {digit} {digit}
what is {number} plus {number}
the room costs {tens} {digit} dollars a night
there were {number} {animals} and {number} {animals} in the field
{person} is {tens} {digit} years old
please call {digit} {digit} {digit} {digit} {future}
i counted {tens} {animals} {past}
the meeting with {name} starts at {hour} {minute} on {day}
{person} works in {place} every {day}
please send the {paper} to {name} before {day}
can you call {name} at {hour}
i have to finish this {paper} before {day}
{name} wants to be a {job}
she is a {job} and he is a {job}
{name} wrote a long {paper} about {topic}
where is the {quality} {thing}
why are you so {feeling} today
how are you today {name}
good morning {name}
thank you {name}
do you know how to {verb}
what did {name} tell you about {topic}
who is {doing} in {place}
can {person} {verb} {future}
keep the {paper} in the same {color} {thing}
have you ever been to {city} in {month}
{person} likes to {verb} and {verb}
the {animal} is sleeping {where} the {furniture}
a {color} {animal} ran across the {ground}
{person} gave the {animal} some {food}
don't feed the {animal} in {place}
let's {verb} in {place} {future}
i'm {feeling} but i don't want to {verb}
{name} was {doing} and {doing} {past}
{person} {did} the {thing} and went home
everyone was {feeling} when the {transport} arrived
i am a {job} and you are a {job}
i am not a {kind}
you are not a {kind} and i am {feeling}
every human can {verb} and {verb}
a human is never {feeling} for long
the {kind} heard a human voice in {place}
{person} is saying {odd} things
why is {name} saying {odd} things about {topic}
i am saying that {name} is {feeling}
they keep saying the same {odd} things
{odd} things happen in {city}
i am {doing} {odd} things
so many things to {verb} about
the human {did} a {thing} {past}
the {kind} is learning {odd} human words"""

_UNSEEN_TEMPLATES = """\
in {city} the {animals} never sleep in {month}
why did {name} open my {paper} before {day}
at {hour} o'clock {person} will call you from {city}
my {color} {thing} costs {number} dollars
{number} {animals} are {where} the {furniture}
we don't have {food} but there is {drink}
is your {quality} {thing} in {place}
{name} can't see the {device} {where} the {furniture}
do they {verb} every {day}
{past} {name} lost {number} {animals} in {place}
{future} the {transport} will be {number} minutes late
your {kind} was {doing} when i left {place}
he bought {food} for the {animal}
where were you when it was {weather}
every {job} likes {drink} with {food}
the {ordinal} {transport} from {city} was {color}
look who is {doing} {where} the {furniture}
{tens} {digit} {animals} ran to {place}
how long will the {transport} wait in {city}
i know what the {kind} did {past}
let's call {name} because the {device} is broken
have they heard about the {odd} {paper}
it is {weather} so {person} is {feeling}
turn on the {device} before you {verb}
when will {name} be ready to {verb}
put the {food} in your {color} {thing}
the {animal} and the {animal} like the {sky}
tell {name} that the {opening} was {quality}
a {feeling} {job} is never late in {month}
my {transport} leaves on {day} at {hour}
{name} was a {job} in {city}
did {person} forget the {paper} about {topic}
the {quality} {thing} and the {color} {thing} are in {place}"""

_SLOTS = """\
person: my mother, my father, my sister, my brother, the doctor, the teacher, the farmer, the
  driver, the nurse, the captain, the old man, the young woman, the boy, the girl, my friend, our
  neighbor, the king, the queen
name: anna, peter, mary, david, sarah, thomas, emma, george, laura, daniel, susan, robert
place: the kitchen, the garden, the office, the station, the market, the library, the hospital, the
  school, the airport, the hotel, the museum, the park, the harbor, the village, the bank, the
  church, the theater, the forest
thing: book, letter, key, lamp, clock, bottle, basket, camera, picture, hammer, blanket, pencil,
  jacket, mirror, bag, hat, coat, knife, spoon, phone
furniture: table, chair, bed, sofa, shelf, desk, door, bench, stairs
where: on, under, behind, near, beside
quality: small, heavy, new, broken, clean, dirty, expensive, cheap, empty, wooden, golden, round
color: red, blue, green, yellow, black, white, brown, gray
did: found, lost, sold, bought, carried, painted, repaired, dropped, opened, forgot, borrowed,
  washed, cleaned, stole
opening: door, window, box, gate, cupboard
onoff: on, off
device: light, radio, television, oven, heater, music
food: bread, butter, cheese, soup, rice, fruit, sugar, honey, chicken, fish, salad, salt, cake,
  chocolate
drink: coffee, tea, milk, water, juice
weather: sunny, rainy, cloudy, windy, cold, warm, dark, stormy, dry
falls: rain, snow, freeze
sky: sky, moon, sun, sea
ground: road, garden, street, field
past: yesterday, last night, last week, this morning, a year ago, on sunday, on friday
future: tomorrow, tonight, next week, next month, this evening, after lunch, in the summer, in the
  winter
city: paris, london, berlin, rome, boston, madrid, chicago, dublin, moscow, vienna
month: january, february, march, april, may, june, july, august, september, october, november,
  december
day: monday, tuesday, wednesday, thursday, friday, saturday, sunday
hour: one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve
minute: fifteen, thirty, forty five, twenty, o'clock
number: two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, twenty, thirty,
  fifty, a hundred
digit: one, two, three, four, five, six, seven, eight, nine
tens: twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety
ordinal: first, second, third, fifth, last
side: left, right
transport: train, bus, plane, boat, taxi, ship
animal: dog, cat, horse, cow, bird, rabbit, mouse, lion, duck, bear
animals: dogs, cats, horses, cows, birds, rabbits, sheep, ducks, bears
paper: report, letter, story, book, test, message, plan
job: student, singer, writer, painter, pilot, baker, lawyer, soldier, doctor, teacher, driver
topic: music, history, science, english, money, the weather, the war, the law, love, sports
feeling: happy, tired, hungry, angry, afraid, busy, ready, sick, sad, quiet, late
verb: sing, dance, swim, cook, write, draw, run, sleep, travel, learn, work, laugh, play, walk,
  drive, think, talk, wait
doing: singing, dancing, swimming, writing, running, sleeping, working, laughing, playing, walking,
  talking, waiting
kind: robot, machine, computer, stranger, child
odd: strange, kind, funny, simple, clever, good, bad, secret, important"""

SPOKEN_GRAMMAR = Grammar(
    templates=tuple(_TEMPLATES.splitlines()),
    slots=_slots(_SLOTS),
    watch={
        "human-things": "i am a human saying human things",
        "red-key": "my sister lost the red key in the garden",
        "boston-train": "the train to boston leaves at seven thirty",
    },
    unseen_templates=tuple(_UNSEEN_TEMPLATES.splitlines()),
)

TINY_GRAMMAR = Grammar(
    templates=(
        "i am the {odd} {who}",
        "the {who} has {number} {things}",
        "{name} is saying {odd} things",
        "{name} has {number} {odd} {things}",
        "a {odd} {who} is saying {number}",
    ),
    slots={
        "who": ("human", "robot", "boy", "girl"),
        "name": ("anna", "peter", "mary", "david"),
        "number": ("two", "three", "six", "nine"),
        "things": ("dogs", "cats", "books", "keys"),
        "odd": ("good", "bad", "small", "red"),
    },
    watch={"human-things": "i am a human saying human things"},
)
