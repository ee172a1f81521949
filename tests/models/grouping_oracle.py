"""Greedy grouping the plain way: lists of people and limbs, one after the other. The oracle of the program for devices.

A limb is a row X1, Y1, V1, X2, Y2, V2, ID1, ID2, DISTANCE, LENGTH, SCORE, SCALE1, SCALE2; a person holds for each joint
x, y, v, scale, score of the limb, id, all -1 where there is none.
"""

import numpy as np

DISTANCE, SCORE = 8, 10
START, END = [0, 1, 2, 11], [3, 4, 5, 12]  # x, y, v, scale of a limb's joints
LIMB_SCORE, ID = 4, 5  # of a person's joint


def group(limbs: np.ndarray, skeleton_limbs: list, joints: int, max_distance: float, slots: int = 10**6) -> np.ndarray:
    """limbs [E, C, 13] of one picture -> people [P, K, 6], at most `slots` at a time."""
    people: list[np.ndarray] = []
    for ends, rows in zip(skeleton_limbs, limbs, strict=True):
        rows = best_per_end(rows, max_distance)
        if rows:
            people = join(people, list(ends), rows, joints)[:slots]
    return np.array(people).reshape(-1, joints, 6)


def best_per_end(rows: np.ndarray, max_distance: float) -> list[np.ndarray]:
    """Usable limbs, best first (equal ones in their order), one per end joint."""
    usable = [
        row for row in rows if row[DISTANCE] < max(max_distance, row[12]) and min(row[0], row[1], row[3], row[4]) > 0
    ]
    taken, kept = set(), []
    for row in sorted(usable, key=lambda row: -row[SCORE]):
        if row[7] not in taken:
            taken.add(row[7])
            kept.append(row)
    return kept


def join(people: list, ends: list, rows: list, joints: int) -> list:
    """One kind of limb."""
    start, end = ends
    marks = {}  # (person, limb) -> joints they share, where they share any; -1 = solved
    improves = {}
    wanted = [(row[6].item(), row[7].item()) for row in rows]
    for m, person in enumerate(people):
        first, second = person[start, ID].item(), person[end, ID].item()
        for r, ids in enumerate(wanted):
            if first == ids[0] or second == ids[1]:
                marks[m, r] = int(first == ids[0]) + int(second == ids[1])
                improves[m, r] = (rows[r][SCORE] > person[ends, LIMB_SCORE]).any()
    people = [person.copy() for person in people]

    def solve(shared: int, act) -> None:
        """Acts on all improving pairs that share so many joints; if there is one, all such pairs are solved."""
        pairs = [pair for pair, mark in marks.items() if mark == shared]
        acting = [pair for pair in pairs if improves[pair]]
        before = [person.copy() for person in people]
        for m, r in acting:
            act(people[m], before[m], rows[r])
        if acting:
            marks.update(dict.fromkeys(pairs, -1))

    def raise_score(person, before, row):
        for joint in ends:
            person[joint, LIMB_SCORE] = max(before[joint, LIMB_SCORE], row[SCORE])

    def overwrite(person, before, row):
        raise_score(person, before, row)
        for joint, columns, number in ((start, START, row[6]), (end, END, row[7])):
            person[joint, :4] = row[columns]
            person[joint, ID] = number

    solve(2, raise_score)
    solve(1, overwrite)
    column = [0] * len(rows)
    for (_, r), mark in marks.items():
        column[r] += mark
    people = merge(people)
    for r, row in enumerate(rows):
        if column[r] == 0:
            fresh = np.full((joints, 6), -1.0)
            for joint, columns, number in ((start, START, row[6]), (end, END, row[7])):
                fresh[joint] = [*row[columns], row[SCORE], number]
            people.append(fresh)
    return people


def merge(people: list) -> list:
    """Pairs with exactly two joints in common become one; all maxima from what was before."""
    merged, gone = list(people), set()
    for m, first in enumerate(people):
        for n in range(m + 1, len(people)):
            same = (first[:, ID] == people[n][:, ID]) & (first[:, ID] != -1)
            if same.sum() == 2:
                merged[m] = np.maximum(first, people[n])
                gone.add(n)
    return [person for n, person in enumerate(merged) if n not in gone]
