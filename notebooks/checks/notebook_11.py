"""Checks of notebook 11, Kinetics-Sounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .judging import first_problem, number, of_kind, verdict


def paired_clips(answer: object) -> bool:
    """Exercise 1: pairs of video folder and sound file of the same clip."""

    def cases(f: Any) -> Iterator[str]:
        videos, sounds = ["a", "b", "c", "d"], ["a.wav", "b.wav", "c.wav", "d.wav"]

        def pairs(*arguments: list[str]) -> list[tuple]:
            found = of_kind(f(*(list(argument) for argument in arguments)), list, "a list of pairs")
            return [tuple(of_kind(pair, (list, tuple), "a list of pairs")) for pair in found]

        found = pairs(videos, sounds, ["b"])
        if ("c", "b.wav") in found:
            yield "c is paired with b.wav: 'b.wav' is never equal to 'b', so no sound was left out."
        if any(video == "b" for video, _ in found):
            yield "b has too few frames and is still there."
        if found != [("a", "a.wav"), ("c", "c.wav"), ("d", "d.wav")]:
            yield f"without b there must be a, c and d, each with its own sound, and yours has {found}."
        if pairs(videos, sounds, ["d", "a"]) != [("b", "b.wav"), ("c", "c.wav")]:
            yield "several videos may have too few frames: without a and d there must be b and c."
        found = pairs(videos, sounds[::-1], [])
        if any(sound != f"{video}.wav" for video, sound in found):
            yield "if the sounds come in another order, pairs break: go by names, not by positions."
        if [video for video, _ in found] != videos:
            yield "the pairs must come in the order of the videos, each video once."
        found = pairs(videos, ["a.wav", "c.wav"], [])
        if found != [("a", "a.wav"), ("c", "c.wav")]:
            yield "b and d have no sound here: leave them out."
        found = pairs(["b", "d"], sounds, [])
        if found != [("b", "b.wav"), ("d", "d.wav")]:
            yield "a and c have no video here: leave their sounds out."
        found = pairs(["a", "la", "lava"], ["lava.wav", "la.wav", "a.wav"], ["av"])
        if found != [("a", "a.wav"), ("la", "la.wav"), ("lava", "lava.wav")]:
            yield f"a, la and lava are three names, compared as a whole, and yours pairs {found}."

    return verdict(first_problem(answer, cases), "a pair is two files of one name, whatever else is missing.")


def spread_of_two(answer: object) -> bool:
    """Exercise 2: standard deviation of single runs, estimated from 75.10 and 76.28."""

    def cases(answer: Any) -> Iterator[str]:
        value, difference = number(answer), 76.28 - 75.10
        if abs(value - difference) < 0.01:
            yield "that is the difference; two runs differ by more than one differs from the mean."
        if abs(value - difference / 2) < 0.01:
            yield "that divides the squares by 2; the mean comes from the same two runs, so divide by 1."
        if abs(value - difference**2 / 2) < 0.005:
            yield "that is a variance: take the root."
        if abs(value - difference / math.sqrt(2)) > 0.005:
            yield "each run is 0.59 from the mean: square, add, divide by 2 - 1, take the root."

    return verdict(first_problem(answer, cases), "0.83 points, itself known to a factor of two at best.")
