"""The phrases of wording “en-2”, one for each word of version 2. No Django.

A change of a single character is a new wording.
"""

from __future__ import annotations

WORDS = (
    "The agreement that cites these terms names the Licensor, the Licensee and the Works. It says"
    " when the license starts.",
    "A day has 24 hours. Times are UTC.",
    "The European Union means the states that are its members when the license starts.",
    "What section 2 does not permit is not allowed. What section 3 forbids is not allowed, even"
    " where section 2 permits it.",
    "The Models are the models that the Licensee trains on the Works.",
    "A person must read each text that is marked “(needs a human)”. No machine decides what it"
    " means.",
)

NOTHING = "No use is named here. Clause 1.4 applies."

RELEASE = {
    "closed_api": "It may offer the models as a service, and keep the weights to itself.",
    "open_weights": "It may publish the weights of the models.",
    "internal_only": "It may use the models inside its own business.",
}

ONLY_RELEASE = {
    "closed_api": "It may offer the models only as a service, and keeps the weights to itself.",
    "open_weights": "It may publish the weights of the models.",
    "internal_only": "It may use the models only inside its own business.",
}
RELEASED = {
    "closed_api": "offered as a service",
    "open_weights": "published with their weights",
    "internal_only": "used inside only",
}
FIELDS = {
    "commercial": "business",
    "non_commercial": "work without profit",
    "education": "teaching",
    "government": "public office",
    "personal": "private life",
}

SECTORS = {
    "ads_targeting": "to aim ads at people",
    "surveillance": "to watch people",
    "law_enforcement": "for the police and the like",
    "competitor_product": "for a product that competes with the Licensor",
    "credit_insurance": "to judge people for credit or insurance",
    "military": "for armed forces",
}

LINEAGE = {
    "finetune_of": "a fine-tune of a Model",
    "distilled_from": "a model that a Model taught",
    "merged_from": "a merge of a Model with others",
    "synthetic_from": "data that a Model made",
    "embedding_of": "embeddings that a Model made",
}

SUCCESSORS = {
    "any_model_of_licensee": {"none": "", "minor_versions": "", "family": ""},
    "up_to_n_models": {
        "none": " Each version counts as a model.",
        "minor_versions": " A minor version counts as the same model.",
        "family": " All versions of a model count as one.",
    },
    "": {
        "none": " No later version is meant.",
        "minor_versions": " Minor versions that follow are meant, too.",
        "family": " All that follow in the same family are meant, too.",
    },
}

SELECTION = {
    "snapshot": "The Works are those in the snapshot that the agreement names.",
    "query": "The Works are those that match a search. The snapshot in the agreement lists them.",
    "manifest": "The Works are those on a list of file hashes. The snapshot in the agreement is"
    " that list.",
    "repertoire": "The Works are all that the Licensor holds at the start. The snapshot in the"
    " agreement lists them.",
}

ADDITIONS = {
    "none": "Works that come later are not licensed.",
    "until_term_end": "Works that come later are licensed, too, until the time to start training"
    " ends.",
    "daily": "New works are added each day.",
    "weekly": "New works are added each week.",
    "monthly": "New works are added each month.",
    "quarterly": "New works are added each quarter.",
}

MODALITIES = {
    "text": "text",
    "image": "images",
    "audio_recording": "sound recordings",
    "composition": "songs as written",
    "video": "video",
    "3d": "3D models",
    "code": "code",
    "tabular": "tables of data",
    "speech": "speech",
    "multimodal": "mixed content",
    "metadata_only": "data about works only",
    "transcript": "transcripts",
}

LAYERS = {
    "copyright_reproduction": "the right to copy the works",
    "master": "the rights in the recordings",
    "publishing": "the rights in the songs as written",
    "database_right": "the right in the database",
    "likeness_voice": "the rights in faces and voices",
    "personal_data_consent": "the consent of the people in the works",
}

CUSTOMERS = {
    "allowed": "Customers of the Licensee may fine-tune the Models.",
    "not_allowed": "Customers of the Licensee may not fine-tune the Models.",
}

TRANSFER = {
    "no": "The Licensee hands the weights of the Models to nobody.",
    "on_change_of_control": "The Licensee hands the weights of the Models on only to who takes over"
    " its business.",
    "yes": "The Licensee may hand the weights of the Models to others.",
}

FLOW = {
    "permit": "{} are allowed. These terms do not follow them.",
    "permit_with_terms": "{} are allowed. These terms hold for them, too.",
    "deny": "{} are not allowed.",
}

DERIVED = {
    "finetune_of": "Fine-tunes of the Models",
    "distilled_from": "Models that the Models taught",
    "merged_from": "Merges of the Models with others",
    "synthetic_from": "Data sets that the Models made",
    "embedding_of": "Embeddings that the Models make",
}

RULES = {
    "no_sequels": "An output is no sequel or prequel of a Work.",
    "no_style_imitation": "The Licensee does not offer to copy the style of one maker.",
    "no_substitutes": "An output does not take the place of a Work.",
    "no_likeness": "An output does not show the face or use the voice of a person in the Works.",
    "no_named_author_prompts": "The Models refuse to write in the manner of a maker who is named.",
    "no_reputation_harm": "An output does not harm the good name of a maker.",
    "no_external_sharing": "Outputs stay inside the business of the Licensee.",
    "summaries_only": "An output may sum up a Work, and shows no part of it.",
    "attribution_in_output": "An output that draws on a Work names its source.",
    "link_back": "An output that draws on a Work links to it.",
    "citation_required": "An output that states a fact from a Work cites the Work.",
    "indemnity_for_output": "The Licensee pays for the harm that an output does to the Licensor.",
}

TERMINATION = {
    "breach": "A party may end the license early if the other breaks it and does not mend that.",
    "insolvency": "A party may end the license early if the other cannot pay its debts.",
    "change_of_control": "The Licensor may end the license early if others take over the Licensee.",
    "convenience_licensor": "The Licensor may end the license early without a reason.",
    "convenience_licensee": "The Licensee may end the license early without a reason.",
    "law": "A party may end the license early if the law forbids it to go on.",
}

KEPT = {
    "raw_copies": "copies of the Works",
    "processed_copies": "processed copies of the Works",
    "eval_sets": "test sets with the Works",
    "logs": "logs of training and use",
    "embeddings": "embeddings of the Works",
    "weights": "weights of the Models",
}

AFTER_TRAINING = "When the time to start training ends, the Licensee"

AFTER_USE = "When the time of clause 4.2 ends, the Licensee"

CERTIFICATE = {
    "none": "Nobody has to certify what was deleted.",
    "licensee": "The Licensee states in writing what it deleted.",
    "officer": "An officer of the Licensee signs for what was deleted.",
    "third_party": "An outside expert signs for what was deleted.",
}

CHANNELS = {
    "platform": "through the market",
    "feed": "through a data feed",
    "email": "by mail",
}

COST = {
    "licensor": "The Licensor pays for it.",
    "licensee": "The Licensee pays for it.",
    "shared": "Both parties pay half of it.",
}

EXCLUSIVITY = {
    "non_exclusive": "The license is not exclusive. The Licensor may license the same uses to"
    " others.",
    "exclusive": "The license is exclusive. Until the time to start training ends, nobody else gets"
    " the same uses in the same places. The Licensor does not use the Works so, either.",
    "sole": "The license is sole. Until the time to start training ends, nobody else gets the same"
    " uses in the same places. The Licensor may still use the Works so.",
}

CATEGORIES = {
    "ai_developers": "who makes AI models",
    "search_engines": "who runs a search engine",
    "same_product": "who sells a product of the same kind",
    "rights_agents": "who licenses such rights for others",
}

PASSING = {
    "none": "The Licensee passes the Works on to nobody.",
    "to_processors": "The Licensee passes the Works on only to those who process them for it.",
    "as_part_of_product": "The Licensee passes the Works on only as a part of its own product.",
    "dataset_resale": "The Licensee may sell the Works on as a dataset. Who buys it is bound by"
    " these terms.",
}

SUBLICENSE = {
    "none": "The Licensee gives no sublicense.",
    "affiliates": "The Licensee may give a sublicense to the companies of section 5.",
    "customers": "The Licensee may give its customers a sublicense to use the Models.",
}

PUBLICATION = {
    "no": "The Licensee does not publish the Works as a dataset.",
    "with_consent": "The Licensee publishes the Works as a dataset only if the Licensor agrees.",
}

ATTRIBUTION = {
    "in_model_docs": "The Licensee names the Licensor in the papers of each Model.",
    "in_output_link": "An output that draws on a Work links to it or names the Licensor.",
    "per_answer": "For each answer, the Licensee states each Work's share in it.",
}

NAMING = {
    "yes": "The {} may say in public that it has this license with the {}.",
    "with_consent": "The {} says in public that it has this license with the {} only if that one"
    " agrees.",
    "no": "The {} does not say in public that it has this license with the {}.",
}

CADENCE = {
    "per_event": "after each use",
    "per_training_run": "after each training run",
    "monthly": "after each month",
    "quarterly": "after each quarter",
    "yearly": "after each year",
}

REPORTED = {
    "works_used": "which Works it used",
    "models_trained": "which Models it trained",
    "tokens": "how many tokens it used",
    "outputs_shown": "how often it showed a Work",
    "revenue": "what it earned",
    "withdrawals": "what it did about each Work that was withdrawn",
    "attribution": "which Works its outputs draw on",
}

AUDITS = {
    "self_certify": "The Licensee states in writing that it keeps these terms.",
    "logs_on_request": "The Licensor may ask for the logs of training and use.",
    "third_party": "The Licensor may send an outside expert to check. The expert keeps what is"
    " seen secret.",
    "on_site": "The Licensor may come and check on site.",
}

LICENSOR_WARRANTS = {
    "ownership": "that it holds the rights that it licenses",
    "authority": "that it may give this license",
    "no_infringement": "that the Works break no right of others",
    "privacy_consent": "that the people in the Works agreed",
    "no_malware": "that the files carry no harmful code",
    "lawful_acquisition": "that it got the Works by lawful means",
    "no_csam": "that no Work shows the abuse of a child",
    "model_releases": "that the people shown signed for it",
}

LICENSEE_WARRANTS = {
    "lawful_use": "that it uses the Works by lawful means only",
    "no_pirate_sources": "that it takes no copy of a Work from a pirate site",
    "no_circumvention": "that it breaks no lock that guards the Works",
}

DISCLAIMED = {
    "as_is": "Apart from this, the Works come as they are.",
    "no_fitness": "Nobody promises that the Works suit a purpose.",
    "no_availability": "Nobody promises that the service is always there.",
}

INDEMNITY = {
    "none": "No party has to make good what others claim from the other.",
    "licensor": "If the Licensor breaks a promise, it pays what others claim from the Licensee.",
    "licensee": "If the Licensee breaks a promise, it pays what others claim from the Licensor.",
    "mutual": "If a party breaks a promise, it pays what others claim from the other party.",
}

CAP = {
    "none": "These terms set no limit to what a party pays.",
    "fees_paid": "A party pays no more than the price of the license.",
}

TITLE = {
    "none": "The Licensor need not show from whom its rights come.",
    "on_request": "On request, the Licensor shows the papers on which its rights rest.",
    "attached": "The papers on which the Licensor's rights rest belong to the agreement.",
}

DATA = {
    "none": "The Works hold no data about living people.",
    "pseudonymous": "The Works hold data about people, with other names put for theirs.",
    "contains_personal_data": "The Works hold data about people who can be told by them.",
    "special_category": "The Works hold data about people that the law guards most, such as on"
    " health or faith.",
}

BASIS = {
    "none": "These terms give no lawful basis for using such data.",
    "consent": "The lawful basis is the consent of these people.",
    "contract": "The lawful basis is a contract with these people.",
    "legitimate_interests": "The lawful basis is a legitimate interest.",
    "legal_obligation": "The lawful basis is a duty under law.",
    "public_interest": "The lawful basis is a task in the public interest.",
    "research": "The lawful basis is research.",
}

REIDENTIFICATION = {
    "forbidden": "The Licensee does not try to find out who a person is.",
    "allowed": "The Licensee may find out who a person is.",
}

ENCRYPTION = {
    "none": "These terms ask for no encryption.",
    "at_rest": "Stored copies are encrypted.",
    "at_rest_and_in_transit": "Copies are encrypted, both stored and sent.",
}

ACCESS = {
    "none": "The Licensee need not list who can reach the copies.",
    "kept": "The Licensee keeps a list of who can reach the copies.",
}

PARTS = {
    "free": "The license is free.",
    "flat_fee": "There is one fee for all.",
    "annual_fee": "There is a fee for each year.",
    "subscription": "There is a fee for each period.",
    "per_item": "There is a price for each Work.",
    "per_token": "There is a price for each token.",
    "per_minute": "There is a price for each minute.",
    "per_megapixel": "There is a price for each megapixel.",
    "per_gigabyte": "There is a price for each gigabyte.",
    "per_training_run": "There is a price for each training run.",
    "per_epoch": "There is a price for each pass over the Works.",
    "per_model": "There is a price for each Model.",
    "per_fetch": "There is a price each time that a Work is fetched.",
    "per_answer": "There is a price for each answer that shows a Work.",
    "per_query": "There is a price for each query.",
    "minimum_guarantee": "There is a least sum that is paid in any case.",
    "advance_recoupable": "There is an advance. Later sums are set off against it.",
    "milestones": "Sums fall due as the parties reach set goals.",
    "credits_in_kind": "A part is paid in services of the Licensee.",
}

OF = {
    "gross": "what the Licensee takes in",
    "net_income": "the net income of the Licensee",
    "product_line": "what the product takes in",
}

MODIFIERS = {
    "cap": "The price has an upper limit.",
    "volume_tiers": "The price per unit falls as the number grows.",
    "freshness_premium": "New Works cost more.",
    "cpi_escalator": "The price rises with consumer prices.",
}

SETTLEMENT = {
    "none": "Nothing is paid.",
    "prepaid": "The price is paid before the license starts.",
    "schedule": "The price is paid on set dates.",
    "auto_debit": "The Licensor draws the price by itself when it is due.",
}

SPLITS = {
    "none": "These terms do not say how the Licensor shares what it gets.",
    "fixed": "The Licensor pays the makers of the Works a fixed share.",
    "equal_per_work": "The Licensor shares what it gets in equal parts, one for each Work.",
    "pro_rata_items": "The Licensor shares what it gets by the number of Works.",
    "pro_rata_tokens": "The Licensor shares what it gets by the number of tokens.",
    "pro_rata_minutes": "The Licensor shares what it gets by the number of minutes.",
    "metadata_weighted": "The Licensor shares what it gets by Works and by how well each is"
    " described.",
    "downloads": "The Licensor shares what it gets by past downloads.",
    "karma": "The Licensor shares what it gets by how readers rated the Works.",
    "attribution": "The Licensor shares what it gets by how far outputs draw on each Work.",
}

DEDUCTED = {
    "platform_fee": "the fee of the market",
    "agent_fee": "the fee of an agent",
    "society_fee": "the fee of a rights society",
    "withholding_tax": "tax at source",
    "recoupment": "advances that were paid",
}

AMENDMENT = {
    "new_version": "A change is a new version of these terms. It holds for new licenses only.",
    "amend": "A change holds when both parties sign it. The rest of the contract stays.",
    "replace": "A change is a new contract that takes the place of this one.",
}

FAVORED = {
    "none": "No party gets better terms because others got them.",
    "licensee_price": "If a later licensee pays less, the Licensee pays no more than that.",
    "licensee_all": "If a later licensee gets better terms, the Licensee gets them, too.",
    "licensor_price": "If the Licensee pays another source more, it pays the Licensor as much.",
    "licensor_all": "If the Licensee gives another source better terms, the Licensor gets them,"
    " too.",
}

SECRET = {
    "public": "The contract is no secret.",
    "price": "The parties keep the price secret.",
    "terms": "The parties keep the terms and the price secret.",
    "existence": "The parties keep it secret that there is a contract.",
}
