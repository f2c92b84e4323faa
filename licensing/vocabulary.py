"""What a license can be about: uses, territories, and the other dimensions. Plain enums, no Django.

Everything else maps from here. A number, once given, is never used for anything else: scope
claims and opt-outs are stored by number.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Use(StrEnum):
    """What may be done with the works."""

    PRETRAIN = "pretrain"
    CONTINUED_PRETRAIN = "continued_pretrain"
    FINETUNE = "finetune"
    INSTRUCTION_TUNE = "instruction_tune"
    PREFERENCE_TUNE = "preference_tune"
    DISTILL = "distill"
    SYNTHETIC_DATA = "synthetic_data"
    EMBED = "embed"
    RETRIEVE_RAG = "retrieve_rag"
    GROUND_DISPLAY = "ground_display"
    EVALUATE = "evaluate"
    SAFETY_TEST = "safety_test"
    CLASSIFY = "classify"
    SEARCH_INDEX = "search_index"
    ANNOTATE = "annotate"
    RESEARCH_NONCOMMERCIAL = "research_noncommercial"
    WORKPLACE_PROMPTING = "workplace_prompting"
    PRODUCT_IMPROVEMENT = "product_improvement"


USE_NUMBERS: dict[Use, int] = {
    Use.PRETRAIN: 1,
    Use.CONTINUED_PRETRAIN: 2,
    Use.FINETUNE: 3,
    Use.INSTRUCTION_TUNE: 4,
    Use.PREFERENCE_TUNE: 5,
    Use.DISTILL: 6,
    Use.SYNTHETIC_DATA: 7,
    Use.EMBED: 8,
    Use.RETRIEVE_RAG: 9,
    Use.GROUND_DISPLAY: 10,
    Use.EVALUATE: 11,
    Use.SAFETY_TEST: 12,
    Use.CLASSIFY: 13,
    Use.SEARCH_INDEX: 14,
    Use.ANNOTATE: 15,
    Use.RESEARCH_NONCOMMERCIAL: 16,
    Use.WORKPLACE_PROMPTING: 17,
    Use.PRODUCT_IMPROVEMENT: 18,
}

# How each use reads in a contract: "to <…> the works".
USE_WORDS: dict[Use, str] = {
    Use.PRETRAIN: "pretrain models on",
    Use.CONTINUED_PRETRAIN: "continue to pretrain models on",
    Use.FINETUNE: "fine-tune models on",
    Use.INSTRUCTION_TUNE: "instruction-tune models on",
    Use.PREFERENCE_TUNE: "tune models to preferences on",
    Use.DISTILL: "make teaching data for other models from",
    Use.SYNTHETIC_DATA: "make synthetic data from",
    Use.EMBED: "make embeddings of",
    Use.RETRIEVE_RAG: "retrieve passages at answer time from",
    Use.GROUND_DISPLAY: "show passages in answers from",
    Use.EVALUATE: "evaluate models on",
    Use.SAFETY_TEST: "test the safety of models on",
    Use.CLASSIFY: "train classifiers and moderation on",
    Use.SEARCH_INDEX: "index for search",
    Use.ANNOTATE: "have people annotate",
    Use.RESEARCH_NONCOMMERCIAL: "do non-commercial research on",
    Use.WORKPLACE_PROMPTING: "let employees prompt models with",
    Use.PRODUCT_IMPROVEMENT: "improve products with",
}


class Window(StrEnum):
    """Which of a license's windows must be open for a use."""

    # Runs may start: the works themselves are worked on.
    TRAINING = "training"
    # What was made from the works may be kept in use.
    USE = "use"


# Serving from what was made needs the use window; every other use works on the works themselves,
# and needs the training window. (The access window is about fetching, which is delivery's.)
_SERVING = (Use.RETRIEVE_RAG, Use.GROUND_DISPLAY, Use.SEARCH_INDEX, Use.PRODUCT_IMPROVEMENT)
USE_WINDOWS: dict[Use, Window] = {
    use: Window.USE if use in _SERVING else Window.TRAINING for use in Use
}


class Exclusivity(StrEnum):
    """Whether others may hold the same scope at the same time."""

    NON_EXCLUSIVE = "non_exclusive"
    EXCLUSIVE = "exclusive"


class ModelScope(StrEnum):
    """Which models the license is for."""

    ANY_MODEL_OF_LICENSEE = "any_model_of_licensee"
    # One model, which the terms name.
    NAMED_MODEL = "named_model"


class Attribution(StrEnum):
    """Where the licensee names the source."""

    NONE = "none"
    IN_MODEL_DOCS = "in_model_docs"
    IN_OUTPUT_LINK = "in_output_link"


class Redistribution(StrEnum):
    """Whether the works may be passed on."""

    NONE = "none"
    TO_PROCESSORS = "to_processors"


class WeightsOnExpiry(StrEnum):
    """What becomes of trained models when the license ends."""

    KEEP_AND_CONTINUE = "keep_and_continue"
    KEEP_FROZEN = "keep_frozen"
    DELETE = "delete"


# ISO 3166-1: the two-letter code, the numeric code (the UN's M49 number), and a usual English name.
_COUNTRIES = """
AD 020 Andorra
AE 784 United Arab Emirates
AF 004 Afghanistan
AG 028 Antigua and Barbuda
AI 660 Anguilla
AL 008 Albania
AM 051 Armenia
AO 024 Angola
AQ 010 Antarctica
AR 032 Argentina
AS 016 American Samoa
AT 040 Austria
AU 036 Australia
AW 533 Aruba
AX 248 Åland Islands
AZ 031 Azerbaijan
BA 070 Bosnia and Herzegovina
BB 052 Barbados
BD 050 Bangladesh
BE 056 Belgium
BF 854 Burkina Faso
BG 100 Bulgaria
BH 048 Bahrain
BI 108 Burundi
BJ 204 Benin
BL 652 Saint Barthélemy
BM 060 Bermuda
BN 096 Brunei Darussalam
BO 068 Bolivia
BQ 535 Bonaire, Sint Eustatius and Saba
BR 076 Brazil
BS 044 Bahamas
BT 064 Bhutan
BV 074 Bouvet Island
BW 072 Botswana
BY 112 Belarus
BZ 084 Belize
CA 124 Canada
CC 166 Cocos Islands
CD 180 Democratic Republic of the Congo
CF 140 Central African Republic
CG 178 Republic of the Congo
CH 756 Switzerland
CI 384 Côte d'Ivoire
CK 184 Cook Islands
CL 152 Chile
CM 120 Cameroon
CN 156 China
CO 170 Colombia
CR 188 Costa Rica
CU 192 Cuba
CV 132 Cabo Verde
CW 531 Curaçao
CX 162 Christmas Island
CY 196 Cyprus
CZ 203 Czechia
DE 276 Germany
DJ 262 Djibouti
DK 208 Denmark
DM 212 Dominica
DO 214 Dominican Republic
DZ 012 Algeria
EC 218 Ecuador
EE 233 Estonia
EG 818 Egypt
EH 732 Western Sahara
ER 232 Eritrea
ES 724 Spain
ET 231 Ethiopia
FI 246 Finland
FJ 242 Fiji
FK 238 Falkland Islands
FM 583 Micronesia
FO 234 Faroe Islands
FR 250 France
GA 266 Gabon
GB 826 United Kingdom
GD 308 Grenada
GE 268 Georgia
GF 254 French Guiana
GG 831 Guernsey
GH 288 Ghana
GI 292 Gibraltar
GL 304 Greenland
GM 270 Gambia
GN 324 Guinea
GP 312 Guadeloupe
GQ 226 Equatorial Guinea
GR 300 Greece
GS 239 South Georgia and the South Sandwich Islands
GT 320 Guatemala
GU 316 Guam
GW 624 Guinea-Bissau
GY 328 Guyana
HK 344 Hong Kong
HM 334 Heard Island and McDonald Islands
HN 340 Honduras
HR 191 Croatia
HT 332 Haiti
HU 348 Hungary
ID 360 Indonesia
IE 372 Ireland
IL 376 Israel
IM 833 Isle of Man
IN 356 India
IO 086 British Indian Ocean Territory
IQ 368 Iraq
IR 364 Iran
IS 352 Iceland
IT 380 Italy
JE 832 Jersey
JM 388 Jamaica
JO 400 Jordan
JP 392 Japan
KE 404 Kenya
KG 417 Kyrgyzstan
KH 116 Cambodia
KI 296 Kiribati
KM 174 Comoros
KN 659 Saint Kitts and Nevis
KP 408 North Korea
KR 410 South Korea
KW 414 Kuwait
KY 136 Cayman Islands
KZ 398 Kazakhstan
LA 418 Laos
LB 422 Lebanon
LC 662 Saint Lucia
LI 438 Liechtenstein
LK 144 Sri Lanka
LR 430 Liberia
LS 426 Lesotho
LT 440 Lithuania
LU 442 Luxembourg
LV 428 Latvia
LY 434 Libya
MA 504 Morocco
MC 492 Monaco
MD 498 Moldova
ME 499 Montenegro
MF 663 Saint Martin
MG 450 Madagascar
MH 584 Marshall Islands
MK 807 North Macedonia
ML 466 Mali
MM 104 Myanmar
MN 496 Mongolia
MO 446 Macao
MP 580 Northern Mariana Islands
MQ 474 Martinique
MR 478 Mauritania
MS 500 Montserrat
MT 470 Malta
MU 480 Mauritius
MV 462 Maldives
MW 454 Malawi
MX 484 Mexico
MY 458 Malaysia
MZ 508 Mozambique
NA 516 Namibia
NC 540 New Caledonia
NE 562 Niger
NF 574 Norfolk Island
NG 566 Nigeria
NI 558 Nicaragua
NL 528 Netherlands
NO 578 Norway
NP 524 Nepal
NR 520 Nauru
NU 570 Niue
NZ 554 New Zealand
OM 512 Oman
PA 591 Panama
PE 604 Peru
PF 258 French Polynesia
PG 598 Papua New Guinea
PH 608 Philippines
PK 586 Pakistan
PL 616 Poland
PM 666 Saint Pierre and Miquelon
PN 612 Pitcairn
PR 630 Puerto Rico
PS 275 Palestine
PT 620 Portugal
PW 585 Palau
PY 600 Paraguay
QA 634 Qatar
RE 638 Réunion
RO 642 Romania
RS 688 Serbia
RU 643 Russian Federation
RW 646 Rwanda
SA 682 Saudi Arabia
SB 090 Solomon Islands
SC 690 Seychelles
SD 729 Sudan
SE 752 Sweden
SG 702 Singapore
SH 654 Saint Helena, Ascension and Tristan da Cunha
SI 705 Slovenia
SJ 744 Svalbard and Jan Mayen
SK 703 Slovakia
SL 694 Sierra Leone
SM 674 San Marino
SN 686 Senegal
SO 706 Somalia
SR 740 Suriname
SS 728 South Sudan
ST 678 Sao Tome and Principe
SV 222 El Salvador
SX 534 Sint Maarten
SY 760 Syria
SZ 748 Eswatini
TC 796 Turks and Caicos Islands
TD 148 Chad
TF 260 French Southern Territories
TG 768 Togo
TH 764 Thailand
TJ 762 Tajikistan
TK 772 Tokelau
TL 626 Timor-Leste
TM 795 Turkmenistan
TN 788 Tunisia
TO 776 Tonga
TR 792 Türkiye
TT 780 Trinidad and Tobago
TV 798 Tuvalu
TW 158 Taiwan
TZ 834 Tanzania
UA 804 Ukraine
UG 800 Uganda
UM 581 United States Minor Outlying Islands
US 840 United States
UY 858 Uruguay
UZ 860 Uzbekistan
VA 336 Vatican City
VC 670 Saint Vincent and the Grenadines
VE 862 Venezuela
VG 092 British Virgin Islands
VI 850 U.S. Virgin Islands
VN 704 Vietnam
VU 548 Vanuatu
WF 876 Wallis and Futuna
WS 882 Samoa
YE 887 Yemen
YT 175 Mayotte
ZA 710 South Africa
ZM 894 Zambia
ZW 716 Zimbabwe
"""
COUNTRY_NUMBERS: dict[str, int] = {}
COUNTRY_NAMES: dict[str, str] = {}
for _line in _COUNTRIES.strip().splitlines():
    _code, _number, _name = _line.split(" ", 2)
    COUNTRY_NUMBERS[_code], COUNTRY_NAMES[_code] = int(_number), _name

WORLDWIDE = "*"
EUROPEAN_UNION = "EU"
# The member states: https://european-union.europa.eu/principles-countries-history/eu-countries_en
_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
EU_MEMBERS = frozenset(_EU.split())
GROUPS: dict[str, frozenset[str]] = {
    WORLDWIDE: frozenset(COUNTRY_NUMBERS),
    EUROPEAN_UNION: EU_MEMBERS,
}


# Names that English puts an article before.
_WITH_ARTICLE = ("United ", "Democratic ", "Republic of ", "Netherlands", "Philippines")


def is_territory(code: str) -> bool:
    """Whether `code` is an ISO 3166-1 alpha-2 country, "EU", or "*" for the whole world."""
    return code in COUNTRY_NUMBERS or code in GROUPS


def countries(codes: Iterable[str]) -> frozenset[str]:
    """The countries that some territories are made of. Raises KeyError for an unknown code."""
    found: set[str] = set()
    for code in codes:
        if code in GROUPS:
            found |= GROUPS[code]
        else:
            COUNTRY_NUMBERS[code]
            found.add(code)
    return frozenset(found)


def territory_name(code: str) -> str:
    """How a territory reads in a contract. Raises KeyError for an unknown code."""
    if code == WORLDWIDE:
        return "the whole world"
    if code == EUROPEAN_UNION:
        return "the European Union"
    name = COUNTRY_NAMES[code]
    return f"the {name}" if name.startswith(_WITH_ARTICLE) else name


def use_numbers(uses: Iterable[str]) -> list[int]:
    """The numbers of uses, ascending. Raises ValueError for an unknown use."""
    return sorted({USE_NUMBERS[Use(use)] for use in uses})


def territory_numbers(codes: Iterable[str]) -> list[int]:
    """The numbers of the countries in some territories, ascending. Raises KeyError."""
    return sorted(COUNTRY_NUMBERS[code] for code in countries(codes))
