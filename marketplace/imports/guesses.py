"""Which of a file's columns may stand for which field, by their names and by what they hold.

A guess is shown to a person who decides; an import that nobody looked at reads `rows.FIELDS` alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from marketplace.imports.rows import FIELDS

# What catalogues call their columns, in a few languages, as `_plain` writes it.
_WORDS: Mapping[str, str] = {
    "external_id": "asset_id image_id photo_id item_id record_id object_id document_id article_id"
    " post_id file_id media_id uid uuid guid key ref reference external_ref identifiant"
    " identificador identificativo kennung nummer bild_nr bildnummer artikelnummer inventarnummer"
    " id_obra id_documento numero codigo code filename file_name dateiname nom_de_fichier path",
    "sha256": "sha_256 sha2 sha_256_hash sha256_hash file_hash file_sha256 content_hash"
    " hash_sha256 sha256_hex digest_sha256 pruefsumme prufsumme somme_de_controle empreinte"
    " suma_de_verificacion somma_di_controllo hashwert",
    "length": "file_length filesize size_bytes bytes_total size_in_bytes length_bytes groesse"
    " grosse dateigroesse dateigrosse groesse_bytes grosse_bytes taille taille_octets octets"
    " tamano tamanho dimensione laenge lange longueur",
    "media_type": "mime_typ medientyp dateityp type_mime tipo_mime format file_type filetype",
    "title": "titel titre titulo titolo headline caption beschriftung ueberschrift uberschrift"
    " schlagzeile nom nombre bezeichnung subject",
    "source_url": "source_link permalink web_address webadresse adresse adresse_url lien enlace"
    " uri href image_url page_url quelle quell_url direccion",
    "language": "sprache langue idioma lingua language_code lang_code sprachcode iso_language taal",
    "revision": "fassung stand revisionsnummer version_number etag",
    "contributor": "photographer_id fotograf_id urheber_id autor_id user_id member_id"
    " contributor_ref uploader_id id_auteur id_autor",
    "contributor_name": "photographer fotograf fotografin urheber urheberin autor autorin auteur"
    " autore artist kuenstler kunstler byline writer credit photographe contributor_full_name",
    "contributor_email": "photographer_email author_mail e_mail mail courriel correo",
    "consent": "einwilligung zustimmung consentement consentimiento consenso permission",
    "pages": "seiten seitenzahl nombre_de_pages paginas pagine num_pages",
    "pixels": "pixel pixel_count total_pixels bildpunkte",
    "megapixels": "mp megapixel mpx",
    "seconds": "sekunden dauer duration duration_s dauer_sekunden duree duracion durata length_s",
    "minutes": "minuten minutos duration_min dauer_minuten",
    "tokens": "num_tokens n_tokens tokenzahl token_total",
    "words": "woerter worter num_words n_words mots palabras parole wordcount wortzahl",
    "isbn": "isbn_13 isbn_10",
    "isrc": "isrc_code",
    "iscc": "iscc_code",
}
_OTHERS = re.compile(r"[^a-z0-9]+")
_SHA256 = re.compile(r"(?:sha256:)?[0-9a-fA-F]{64}")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)


def guess(header: Sequence[str], samples: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Which column each field most likely is, {field: column}; what nothing suggests is absent.

    `samples` holds some values of each column. A column that is there twice is never guessed.
    """
    free = [name for name in header if name.strip() and header.count(name) == 1]
    found: dict[str, str] = {}
    plain = {_plain(name): name for name in reversed(free)}
    for names in (_own_names(), _other_names()):
        for name, field in names.items():
            column = plain.get(name)
            if column in free and field not in found and _fits(field, samples.get(column, ())):
                found[field] = column
                free.remove(column)
    for field, looks in (("sha256", _SHA256), ("source_url", _URL)):
        alike = [name for name in free if _all(looks, samples.get(name, ()))]
        if field not in found and len(alike) == 1:
            found[field] = alike[0]
            free.remove(alike[0])
    return {field.name: found[field.name] for field in FIELDS if field.name in found}


def _own_names() -> dict[str, str]:
    """Names that an import reads by itself, the fields' own before their aliases."""
    names = {_plain(field.name): field.name for field in FIELDS}
    for field in FIELDS:
        for alias in field.aliases:
            names.setdefault(_plain(alias), field.name)
    return names


def _other_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for field, words in _WORDS.items():
        for word in words.split():
            names.setdefault(word, field)
    return names


def _plain(name: str) -> str:
    """A column's name without what spellings differ in: "Asset ID " and "asset-id" are one."""
    folded = unicodedata.normalize("NFKD", name.replace("ß", "ss")).casefold()
    bare = "".join(one for one in folded if not unicodedata.combining(one))
    return _OTHERS.sub("_", bare).strip("_")


def _fits(field: str, values: Sequence[str]) -> bool:
    """Whether what a column holds can be the field at all: “hash” may be another hash."""
    said = [value.strip() for value in values if value.strip()]
    if field == "sha256":
        return not said or any(_SHA256.fullmatch(value) for value in said)
    if field == "length":
        return not said or any(value.isdecimal() for value in said)
    if field == "source_url":
        return not said or any(_URL.fullmatch(value) for value in said)
    return True


def _all(looks: re.Pattern[str], values: Sequence[str]) -> bool:
    said = [value.strip() for value in values if value.strip()]
    return bool(said) and all(looks.fullmatch(value) for value in said)
