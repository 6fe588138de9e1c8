"""The report document, from the evidence of two real runs.

evidence/applied and evidence/planned are the JSON files of two runs of the shipped phase against the lab, one with
apply and one without: most PASS findings are left out, and the lab's addresses are replaced by fixed ones.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from jinja2.ext import babel_extract
from nbconvert.filters import markdown2html_mistune

from runbooks_lib.errors import EvidenceError, PreconditionFailed
from runbooks_lib.evidence import Evidence
from runbooks_lib.findings import Answer, Verdict
from runbooks_lib.phase import STEPS, Phase, load_phase
from runbooks_lib.postgres.session.connect import Sessions
from runbooks_lib.report import document, language, markdown
from runbooks_lib.steps import report
from runbooks_lib.steps.baseline_plan import State

EVIDENCE = Path(__file__).parent / "evidence"
PAGES = language.texts().parent / "report"
PHASE = load_phase("PH15-AMAZON-DB-FOUNDATION-01")
MIGRATION = "20251220235148_add_oauth_state_table"
Json = dict[str, Any]


@cache
def stored(run: str) -> str:
    records = {
        step: json.loads((EVIDENCE / run / f"{number:02d}_{step}.json").read_text(encoding="utf-8"))
        for number, step in enumerate(STEPS, start=1)
    }
    return json.dumps(records)


def evidence_of(run: str) -> Json:
    records: Json = json.loads(stored(run))
    return records


def header_of(run: str) -> Json:
    header: Json = json.loads((EVIDENCE / run / "run.json").read_text(encoding="utf-8"))
    return header


def recorded(run: str, evidence: Json | None = None) -> Evidence:
    return Evidence.from_json(
        header_of(run), evidence_of(run) if evidence is None else evidence, EVIDENCE / run
    )


def composed(
    run: str = "applied", lang: str = "fr", evidence: Json | None = None, phase: Phase = PHASE
) -> str:
    return document.render(phase, recorded(run, evidence), lang).text


def facts(evidence: Json, step: str, question: str) -> Json:
    found: Json = evidence[step]["answers"][question]["facts"]
    return found


def section(text: str, emoji: str) -> str:
    """Return one section of a report: from its title to the next one."""
    (found,) = [part for part in re.split(r"^(?=## )", text, flags=re.M) if part.startswith(f"## {emoji}")]
    return found


def finding(verdict: str, **fields: str) -> Json:
    row = {"check": "has_table", "target": "leader", "object": "public.OAuthState", "have": "absent"}
    return row | {"want": "there", "verdict": verdict, "hint": "Look at the matrix."} | fields


class Cells(HTMLParser):
    """The rows of all tables of an HTML page, as the texts of their cells; and the names of all elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.names: set[str] = set()
        self.open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data


def rendered(text: str) -> Cells:
    return Cells(markdown2html_mistune(text))


# Every fact of the report of 7 January 2026, by section; what differs now (the legacy database has the tables since
# the run applied the baseline) is as this run found it.
FACTS = {
    "📋": [
        "| Tables DB | ✅ `leader` 5 sur 5 · ✅ `replica` 5 sur 5 · ✅ `legacy` 5 sur 5 | `07_report.json` |",
        "| Enums PostgreSQL | ✅ `leader` 4 sur 4 ",
        "| Prisma migrate | ✅ synchronisé — `Database schema is up to date!` | `04_prisma_resolve.json` |",
        "| Données test | ✅ présentes et conformes : 18 sur 18 |",
        "| Routes de keybuzz-backend | ⚠️ non déployé — ",
        "🟠 **terminé, des points restent à traiter**",
    ],
    "🔍": [
        "| `10.0.0.121:5432` (PostgreSQL 18.6) | `keybuzz_backend` | **LEADER** (write) | `leader` "
        "| ✅ toutes présentes (5 sur 5) | ✅ toutes présentes (5 sur 5) |",
        "| `10.0.0.122:5432` (PostgreSQL 18.6) | `keybuzz_backend` | **REPLICA** (read-only) | `replica` "
        "| ✅ toutes présentes (5 sur 5) | ✅ toutes présentes (5 sur 5) |",
        "| `10.0.0.121:5432` (PostgreSQL 18.6) | `keybuzz` | DB legacy (schéma uniquement) | `legacy` "
        "| ❌ absentes (0 sur 5) | ✅ toutes présentes (5 sur 5) |",
        "- ✅ Réplication de `replica` : récepteur `streaming`, retard de 0 octet",
        "**Note** : 📄 Un rapport antérieur, PH-RESTORE, avait identifié des tables manquantes sur `keybuzz` ",
        "sur `keybuzz_backend` (`10.0.0.121:5432`, `10.0.0.122:5432`) : tables présentes.",
        "sur `keybuzz` (`10.0.0.121:5432`) : tables absentes.",
        "| `10.0.0.121:5432 keybuzz` | 0 sur 5 | 0 sur 4 | — |",
    ],
    "📊": [
        "### Sur `keybuzz_backend` (`10.0.0.121:5432`, `10.0.0.122:5432`)",
        "| `MarketplaceConnection` | kb_backend | 2 lignes (tenant_test_dev, kbz_test) | ✅ |",
        "| `OAuthState` | kb_backend | 5 lignes | ✅ |",
        "| `inbound_connections` | kb_backend | 2 lignes (tenant_test_dev, kbz_test) | ✅ |",
        "| `inbound_addresses` | kb_backend | 5 lignes (tenant_test_dev, kbz_test) | ✅ |",
        "| `MarketplaceSyncState` | kb_backend | vide | ✅ |",
        "MarketplaceType: AMAZON, FNAC, CDISCOUNT, OTHER\n",
        "MarketplaceConnectionStatus: PENDING, CONNECTED, ERROR, DISABLED\n",
        "InboundConnectionStatus: DRAFT, WAITING_EMAIL, WAITING_AMAZON, READY, DEGRADED, ERROR\n",
        "InboundValidationStatus: PENDING, VALIDATED, FAILED\n",
        "\nmarketplace_connections_tenantId_type_idx\n",
        "\ninbound_connections_tenantId_marketplace_key (UNIQUE)\n",
        "\ninbound_connections_status_idx\n",
        "\ninbound_addresses_tenantId_marketplace_country_key (UNIQUE)\n",
        "\ninbound_addresses_validationStatus_lastInboundAt_idx\n",
        "\ninbound_addresses_pipelineStatus_marketplaceStatus_idx\n",
        "\noauth_states_state_key (UNIQUE)\n",
        "\noauth_states_state_idx\n",
        "\noauth_states_tenantId_idx\n",
        "\noauth_states_connectionId_idx\n",
        "\noauth_states_expiresAt_idx\n",
    ],
    "🔧": [
        "## 🔧 ACTIONS EFFECTUÉES",
        "### 1. Preflight & Backup",
        "- ✅ Backup schema de `keybuzz_backend` sur `10.0.0.121:5432` (cible `leader`) : "
        "`backup/schema_backup_20261124_082004.sql`, 11,1 Kio",
        "SHA-256 `43839cc3961c629672f885069339784695a90cec0c1125442d6448644b927ec3`",
        "- Vérification des tables au début du run : `leader` ✅ toutes présentes (5 sur 5)",
        "### 2. Migration SQL Baseline",
        "publié sous `keybuzz-infra/docs/sql/PH15_AMAZON_BASELINE_TABLES.sql`",
        "- ✅ 20 instructions, dont idempotentes : 20",
        "- Plan : `83b9895fe2a66931d13369d8f25866fa71b7bcc8b479872bca2060d7f4347100`",
        "- ✅ **Appliquée à `keybuzz` sur `10.0.0.121:5432` (cible `legacy`)** — "
        "4 × `DO`, 5 × `CREATE TABLE`, 11 × `CREATE INDEX`",
        "| 90 | `OAuthState` | à créer | `CREATE TABLE` |",
        "- ✅ Une seconde exécution n'a rien changé : catalogue `b43c939adbc504fc` avant, `b43c939adbc504fc` après",
        "### 3. Synchronisation Prisma",
        f"\nnpx prisma migrate resolve --applied {MIGRATION}\n",
        "- ✅ Enregistrée dans ce run, par Prisma 6.19.3",
        "`Database schema is up to date!`",
    ],
    "📦": [
        "### tenant_test_dev · `inbound_addresses`",
        "| `AMAZON` | `DE` | `amazon.tenant_test_dev.de.97lo14@inbound.keybuzz.io` | `VALIDATED` |",
        "| `AMAZON` | `FR` | `amazon.tenant_test_dev.fr.6v8gqm@inbound.keybuzz.io` | `VALIDATED` |",
        "| `AMAZON` | `UK` | `amazon.tenant_test_dev.uk.2hpmad@inbound.keybuzz.io` | `VALIDATED` |",
        "### kbz_test · `inbound_addresses`",
        "| `AMAZON` | `DE` | `amazon.kbz_test.de.k9m2de@inbound.keybuzz.io` | `VALIDATED` |",
        "| `AMAZON` | `FR` | `amazon.kbz_test.fr.x7p4fr@inbound.keybuzz.io` | `VALIDATED` |",
        "### `MarketplaceConnection`",
        "| `mpc_amazon_tenant_test_dev` | `tenant_test_dev` | `AMAZON` | `CONNECTED` | ✅ leader, ✅ replica |",
        "| `cmjecdiqj0000p0fvgljq171d` | `kbz_test` | `AMAZON` | `CONNECTED` | ✅ leader, ✅ replica |",
    ],
    "⚠️": [
        "## ⚠️ PROBLÈME IDENTIFIÉ : Routes API",
        "- **keybuzz-api** : déployé, répond (`HTTP 404` ",
        "- **keybuzz-backend** : **non déployé** (connexion refusée, ",
        "routes **présentes** dans le code, 4 sur 4, dans `src/routes/amazon.routes.ts`",
        "📄 non déployé sur K8s, d'après le rapport du 7 janvier 2026",
        "\nGET  /api/v1/inbound-email/connections\n",
        "\nGET  /api/v1/marketplaces/amazon/status\n",
        "\nPOST /api/v1/marketplaces/amazon/oauth/start\n",
        "\nGET  /api/v1/marketplaces/amazon/oauth/callback\n",
        "| `POST /api/v1/marketplaces/amazon/oauth/start` | ⚠️ absente (`HTTP 404`) | ⚠️ service non déployé "
        "| `src/routes/amazon.routes.ts:13` | `OAuthState`, `MarketplaceConnection` |",
        "1. **Option A** : Déployer keybuzz-backend comme service distinct",
        "2. **Option B** : Migrer routes Amazon de keybuzz-backend vers keybuzz-api",
    ],
    "📁": [
        "| `keybuzz-infra/docs/sql/PH15_AMAZON_BASELINE_TABLES.sql` | 📄 Migration SQL baseline |",
        "| `keybuzz-infra/docs/PH15-AMAZON-DB-FOUNDATION-01-REPORT.md` | 📄 Ce rapport |",
        "| `plan/baseline.sql` | Migration SQL baseline, SHA-256 `989470c1c475060898d9465e17ef90f015d2991b607",
        "| `report.fr.md` |",
        "| `01_preflight.json` |",
    ],
    "✅": [
        "- [x] Tables DB existent sur `keybuzz_backend` — ",
        "- [x] Enums PostgreSQL créés — ",
        "- [x] Prisma migrate status: up to date — ",
        "- [x] Données tenant_test_dev présentes — contrôles conformes : 10 sur 10",
        "- [x] Données kbz_test présentes — contrôles conformes : 8 sur 8",
        "- [ ] Routes API Amazon accessibles — contrôles conformes : 0 sur 4",
        "keybuzz-backend : service non déployé",
        "- [ ] Admin UI lit données réelles (⚠️ dépend des routes",
    ],
    "🔜": [
        "1. 📄 **Déployer keybuzz-backend** ou migrer ses routes vers keybuzz-api",
        "2. 📄 Vérifier que l'Admin UI appelle les bonnes URLs",
        "3. 📄 Tester flow OAuth complet end-to-end",
    ],
    "📝": [
        "Les 5 tables déclarées **existaient déjà** dans `keybuzz_backend` au début de ce run, pas dans `keybuzz`.",
        "La confusion venait de la multiplicité des bases de données : 8 bases examinées",
        "- **DB `keybuzz_backend`** (`10.0.0.121:5432`, `10.0.0.122:5432`) : au début du run : tables présentes",
        "- **DB `keybuzz`** (`10.0.0.121:5432`) : au début du run : tables absentes ; à sa fin : tables présentes "
        "(depuis que ce run y a appliqué la baseline)",
        "Prisma est maintenant synchronisé : `Database schema is up to date!`.",
        "Reste à traiter : 4 routes ne sont servies par aucun service. "
        "Des routes sont dans le code de `keybuzz-backend` (4 sur 4), qui n'est pas déployé.",
    ],
}


@pytest.mark.parametrize("emoji", FACTS)
def test_every_fact_of_the_handwritten_report_is_in_its_section(emoji: str) -> None:
    found = section(composed(), emoji)
    assert [fact for fact in FACTS[emoji] if fact not in found] == []


def test_what_was_done_comes_first_then_the_sections_in_the_order_of_the_handwritten_report() -> None:
    titles = [title.split()[0] for title in markdown.headings(composed())]
    assert titles[:2] == ["📋", "🔧"]
    assert [title for title in FACTS if title != "🔧"] == [title for title in titles if title != "🔧"]


def test_the_outcome_is_said_first_with_what_is_left() -> None:
    head = composed(lang="en").split("**Date**")[0]
    assert "**Done.** 2 items left: [" in head
    assert head.count("](#-validation-checklist)") == 2
    assert "**Terminé.** 2 points restent à traiter : [" in composed()
    assert "**Planned.**" in composed("planned", "en").split("**Date**")[0]


def test_what_is_not_declared_has_no_section() -> None:
    bare = replace(PHASE, seeds=(), routes=(), services={}, enums=())
    seen = recorded("applied", evidence_of("applied"))
    document_ = document.render(bare, seen, "en")
    assert "seeds" not in document_.sections
    assert "routes" not in document_.sections
    assert "### Enums" not in document_.text
    assert list(document_.sections) == list(document.expected_sections(bare, seen))


def test_the_head_names_the_run_its_date_and_the_objective() -> None:
    head = composed().split("## ")[0]
    assert head.startswith("# PH15-AMAZON-DB-FOUNDATION-01 — Rapport\n")
    assert "**Date** : 24 novembre 2026, 08:20:04 UTC" in head
    assert "**Objectif** : Restaurer les tables Amazon/Inbound en DB DEV + synchroniser Prisma" in head
    assert "20261124T082004Z-a5a170" in head
    assert "🛑" not in head


def test_english_says_the_same_in_english() -> None:
    text = composed(lang="en")
    assert "**Date**: November 24, 2026, 08:20:04 UTC" in text
    assert "The 5 declared tables **existed already** in `keybuzz_backend`" in text
    assert not re.search(r"\b(tables absentes|sur|constats|lignes)\b", text)


@pytest.mark.parametrize("run", ["applied", "planned"])
def test_no_prose_of_the_french_report_is_left_in_english(run: str) -> None:
    prose = re.sub(r"`[^`]*`|\*\([^)]*\)\*", "", composed(run))
    assert not re.search(r"\b(the|of|this run|absent:|was|not)\b", prose)


@pytest.mark.parametrize("state", State)
def test_what_a_statement_would_do_is_said_in_both_languages(state: State) -> None:
    evidence = evidence_of("applied")
    facts(evidence, "baseline_migration", "plan")["statements"][0]["would"] = state.value
    row = "| 13 | `MarketplaceType` | "
    (english,) = [line for line in composed(lang="en", evidence=evidence).splitlines() if row in line]
    assert state.value.lower() in english.lower()
    (french,) = [line for line in composed(lang="fr", evidence=evidence).splitlines() if row in line]
    assert not re.search(r"would|exists", french)


# A run that only plans


@pytest.mark.parametrize(
    ("lang", "banner", "claims", "denials"),
    [
        (
            "fr",
            "PLAN UNIQUEMENT : rien n'a été appliqué",
            r"appliqu\w*|enregistrée dans",
            r"rien n'a été|non|puis l'",
        ),
        ("en", "PLAN ONLY: nothing was applied", r"\bapplied|recorded in", r"nothing was|not|--|would be"),
    ],
)
def test_a_plan_says_so_and_claims_nothing(lang: str, banner: str, claims: str, denials: str) -> None:
    text = composed("planned", lang)
    assert banner in text.split("## ")[0]
    assert banner in section(text, "📝")
    for match in re.finditer(claims, text, re.IGNORECASE):
        before = text[max(0, match.start() - 20) : match.start()]
        assert re.search(f"({denials})[ ]?$", before, re.IGNORECASE), text[match.start() - 40 : match.end()]


def test_a_plan_says_what_would_be_done_and_what_is_missing() -> None:
    text = composed("planned")
    actions = section(text, "🔧")
    assert "à confirmer par `keybuzz:83b9895f`" in actions
    assert "| 90 | `OAuthState` | à créer | non exécutée |" in actions
    assert "⏸️ Non enregistrée : ce run ne fait que planifier" in actions
    assert "Database schema is up to date!" not in text
    assert "- [ ] Prisma migrate status: up to date" in section(text, "✅")
    assert "1. Lire le plan, puis l'appliquer : `--apply --confirm keybuzz:83b9895f`" in section(text, "🔜")
    assert "à sa fin : tables absentes" in section(text, "📝")
    assert "⏸️ `legacy` 0 sur 5" in section(text, "📋")


def test_a_route_that_was_not_probed_is_neither_present_nor_missing() -> None:
    routes = section(composed("planned"), "⚠️")
    assert "\nPOST " not in routes
    assert "Non sondées, ou indéterminées : `POST /api/v1/marketplaces/amazon/oauth/start`" in routes
    assert "Reste à traiter : 3 routes" in section(composed("planned"), "📝")


def test_a_run_that_was_to_apply_and_did_not_says_so() -> None:
    evidence = evidence_of("applied")
    evidence["baseline_migration"]["answers"]["apply"]["facts"] = {"applied": False}
    text = composed(evidence=evidence)
    assert "LA BASELINE N'A PAS ÉTÉ APPLIQUÉE" in text.split("## ")[0]
    assert "**Non appliquée**" in section(text, "🔧")
    assert "depuis que ce run" not in text


# What is missing, what failed


@pytest.mark.parametrize(
    ("lang", "unknown", "denied"),
    [
        (
            "fr",
            ["ON NE SAIT PAS SI LA BASELINE A ÉTÉ APPLIQUÉE", "On ne sait pas si elle a été appliquée"],
            ["LA BASELINE N'A PAS ÉTÉ APPLIQUÉE", "**Non appliquée**"],
        ),
        (
            "en",
            ["WHETHER THE BASELINE WAS APPLIED IS NOT KNOWN", "Not known whether it was applied"],
            ["THE BASELINE WAS NOT APPLIED", "**Not applied**"],
        ),
    ],
)
def test_what_nobody_knows_is_neither_applied_nor_not(
    lang: str, unknown: list[str], denied: list[str]
) -> None:
    """The session was lost at COMMIT, and no new session could tell what became of it."""
    evidence = evidence_of("applied")
    facts(evidence, "baseline_migration", "apply")["applied"] = None
    text = composed("applied", lang, evidence)
    for words in unknown:
        assert words in text
    for words in denied:
        assert words not in text
    facts(evidence, "baseline_migration", "apply")["applied"] = False
    text = composed("applied", lang, evidence)
    for words in denied:
        assert words in text


def test_a_second_run_that_took_values_of_sequences_says_so() -> None:
    evidence = evidence_of("applied")
    answer = evidence["baseline_migration"]["answers"]["second_run"]
    answer["facts"]["sequences"] = ["public.numbered_id_seq"]
    for found in answer["findings"]:
        found["verdict"] = "OPEN"
    text = composed("applied", "en", evidence)
    assert "A second run wrote no row, and took values of sequences: `public.numbered_id_seq`" in text


@pytest.mark.parametrize("step", [step for step in STEPS if step != "report"])
@pytest.mark.parametrize("lang", ["fr", "en"])
def test_a_missing_step_is_said(step: str, lang: str) -> None:
    evidence = evidence_of("applied")
    del evidence[step]
    text = composed(lang=lang, evidence=evidence)
    said = {"fr": f"L'étape `{step}` n'a pas été exécutée", "en": f"Step `{step}` was not run in this run"}
    assert said[lang] in text
    assert f"`{step}`" in section(text, "📝")
    assert "🟠 **" in section(text, "📋")
    assert "🟢" not in text


def test_a_report_of_nothing_claims_nothing() -> None:
    text = composed("planned", "en", evidence={})
    assert "✅" not in text.replace("## ✅", "")
    assert "[x]" not in text
    assert text.count("not judged in this run") == len(PHASE.checklist)
    assert "PLAN ONLY" in text
    assert document.expected_sections(PHASE, recorded("planned", {})) == tuple(
        s for s in document.SECTIONS if s != document.FAILURES
    )


def test_a_step_that_stopped_at_a_gate_has_said_nothing_more() -> None:
    evidence = evidence_of("applied")
    for question in ("dump", "verify"):
        del evidence["backup"]["answers"][question]
    text = composed(evidence=evidence)
    assert "L'étape `backup` n'a pas posé la question `dump`" in section(text, "🔧")


@pytest.mark.parametrize("verdict", ["FAIL", "ERROR"])
def test_what_did_not_pass_is_near_the_top_and_in_red(verdict: str) -> None:
    evidence = evidence_of("applied")
    evidence["report"]["answers"]["last_look"]["findings"].append(finding(verdict))
    text = composed(evidence=evidence)
    assert [title.split()[0] for title in markdown.headings(text)][:2] == ["📋", "🔴"]
    assert "🔴 **1 constat en échec**" in section(text, "📋")
    assert "❌ `leader` 5 sur 5" in section(text, "📋")
    assert (
        f"| report | `has_table` | leader | `public.OAuthState` | absent | présent | ❌ {verdict} |"
        in section(text, "🔴")
    )
    assert "| `OAuthState` | kb_backend | 5 lignes | ❌ |" in text
    assert "1. Corriger ce qui est en échec, puis relancer l'étape : `report`" in section(text, "🔜")
    assert "n'est pas une preuve de réussite" in section(text, "📝")


def test_tables_with_other_rows_than_declared_are_not_green_in_the_summary() -> None:
    evidence = evidence_of("applied")
    row = finding("FAIL", check="row_count_is", have="4", want="5")
    evidence["report"]["answers"]["last_look"]["findings"].append(row)
    (line,) = [
        line for line in section(composed(evidence=evidence), "📋").splitlines() if "| Tables DB |" in line
    ]
    assert "❌ `leader` 5 sur 5, avec des écarts · ✅ `replica` 5 sur 5" in line


@pytest.mark.parametrize(("lang", "when"), [("fr", "au début du run"), ("en", "when the run began")])
def test_what_is_still_to_be_made_is_not_green_before_it_is_made(lang: str, when: str) -> None:
    evidence = evidence_of("applied")
    del evidence["report"]
    (line,) = [
        line
        for line in section(composed(lang=lang, evidence=evidence), "📋").splitlines()
        if "Enums" in line or "enums" in line
    ]
    of = {"fr": "sur", "en": "of"}[lang]
    assert f"✅ `leader` 4 {of} 4 · ✅ `replica` 4 {of} 4 · ➖ `legacy` 0 {of} 4 — {when} |" in line


def test_an_open_item_is_no_failure() -> None:
    assert "🔴" not in composed()


# Every figure comes from the evidence


def _rows(e: Json) -> None:
    for target in ("leader", "replica"):
        facts(e, "report", "last_look")["targets"][target]["tables"]["public.OAuthState"]["rows"] = 7


def _rows_of_replica(e: Json) -> None:
    facts(e, "report", "last_look")["targets"]["replica"]["tables"]["public.OAuthState"]["rows"] = 4


def _owner(e: Json) -> None:
    for target in ("leader", "replica"):
        facts(e, "report", "last_look")["targets"][target]["tables"]["public.OAuthState"]["owner"] = (
            "postgres"
        )


def _labels(e: Json) -> None:
    for target in facts(e, "report", "last_look")["targets"].values():
        target["enums"]["public.MarketplaceType"]["labels"].reverse()


def _labels_of_legacy(e: Json) -> None:
    legacy = facts(e, "report", "last_look")["targets"]["legacy"]
    legacy["enums"]["public.MarketplaceType"]["labels"].append("EBAY")


def _index(e: Json) -> None:
    index = facts(e, "report", "last_look")["targets"]["leader"]["indexes"]["public.oauth_states_state_key"]
    index.update(unique=False, valid=False)


def _hash(e: Json) -> None:
    facts(e, "backup", "dump")["dumps"]["leader"]["sha256"] = "f" * 64


def _size(e: Json) -> None:
    facts(e, "backup", "dump")["dumps"]["leader"]["size_bytes"] = 4711


def _server(e: Json) -> None:
    facts(e, "preflight", "targets")["targets"]["replica"]["server"] = "10.9.9.9:5432"


def _role(e: Json) -> None:
    facts(e, "preflight", "targets")["targets"]["leader"]["in_recovery"] = True


def _before(e: Json) -> None:
    tables = facts(e, "preflight", "schema")["targets"]
    tables["legacy"]["tables"] = copy.deepcopy(tables["leader"]["tables"])


def _nowhere(e: Json) -> None:
    for target in facts(e, "preflight", "schema")["targets"].values():
        target["tables"] = {}


def _say(line: Json, place: str, state: str, words: str) -> None:
    line["places"][place], line["states"][place] = words, state


def _elsewhere(e: Json) -> None:
    _say(
        facts(e, "preflight", "find_objects")["matrix"][0], "10.0.0.121:5432 postgres", "there", "there (bob)"
    )


def _other_case(e: Json) -> None:
    matrix = facts(e, "preflight", "find_objects")["matrix"]
    _say(matrix[0], "10.0.0.121:5432 keybuzz", "otherwise", "as public.marketplaceconnection (bob)")


def _closed(e: Json) -> None:
    for line in facts(e, "preflight", "find_objects")["matrix"]:
        _say(line, "10.0.0.121:5432 postgres", "not searched", "not searched: no CONNECT privilege")


def _notice(e: Json) -> None:
    facts(e, "baseline_migration", "apply")["outcomes"][4]["notices"] = ["already exists, skipping"]


def _words(e: Json) -> None:
    facts(e, "prisma_resolve", "confirm")["said"]["output"] = "something\n\nAll is well.\n"


def _already(e: Json) -> None:
    facts(e, "prisma_resolve", "resolve").update(recorded=False, already=True)


def _row_missing(e: Json) -> None:
    for fact, row in zip(
        facts(e, "seed_verification", "rows")["rows"],
        e["seed_verification"]["answers"]["rows"]["findings"],
        strict=True,
    ):
        if "kbz_test, AMAZON, FR" in row["object"]:
            fact["row"] = None
            row.update(verdict="FAIL", have="missing")


def _email(e: Json) -> None:
    facts(e, "seed_verification", "rows")["rows"][0]["row"]["emailAddress"] = "other@example.org"


def _served(e: Json) -> None:
    name = "GET /api/v1/marketplaces/amazon/status"
    for row in e["api_routes"]["answers"]["routes"]["findings"]:
        if row["object"] == name:
            row["verdict"] = "PASS"
    for probe in facts(e, "api_routes", "routes")["probes"]:
        if f"{probe['method']} {probe['path']}" == name:
            probe.update(state="present", reason="HTTP 401")


def _deployment(e: Json) -> None:
    facts(e, "api_routes", "services")["services"]["keybuzz-api"]["deployment"] = {
        "namespace": "dev",
        "name": "api",
        "exists": True,
        "replicas": 3,
        "ready": 2,
        "image": "api:1.2",
        "available": True,
    }


def _source(e: Json) -> None:
    facts(e, "api_routes", "source")["routes"][0]["hits"][0].update(file="src/other.ts", line=99)


def _box(e: Json) -> None:
    facts(e, "report", "checklist")["items"][0].update(ticked=False, passed=3, judged=4)


def _unseen(e: Json) -> None:
    facts(e, "report", "checklist")["items"][0].update(ticked=False, unseen=["has_index"])


@pytest.mark.parametrize(
    ("change", "emoji", "said"),
    [
        (_rows, "📊", "| `OAuthState` | kb_backend | 7 lignes |"),
        (_rows_of_replica, "📊", "| `OAuthState` | kb_backend | 5 lignes (leader), 4 lignes (replica) |"),
        (_owner, "📊", "| `OAuthState` | postgres | 5 lignes |"),
        (_labels, "📊", "MarketplaceType: OTHER, CDISCOUNT, FNAC, AMAZON\n"),
        (_labels_of_legacy, "📊", "```sql\nMarketplaceType: AMAZON, FNAC, CDISCOUNT, OTHER, EBAY\n"),
        (_index, "📊", "oauth_states_state_key (INVALID)\n"),
        (_hash, "🔧", f"SHA-256 `{'f' * 64}`"),
        (_size, "🔧", "4,6 Kio"),
        (_server, "🔍", "| `10.9.9.9:5432` (PostgreSQL 18.6) | `keybuzz_backend` | **REPLICA**"),
        (_role, "🔍", "| **REPLICA** (read-only) | `leader` |"),
        (_before, "📝", "**existaient déjà** dans `keybuzz_backend`, `keybuzz` au début"),
        (_nowhere, "📝", "Aucune des tables déclarées n'existait dans `keybuzz_backend`, `keybuzz`"),
        (_elsewhere, "📝", "Des tables de ces noms sont aussi dans : `10.0.0.121:5432 postgres`."),
        (_other_case, "🔍", "`public.MarketplaceConnection as public.marketplaceconnection (bob)`"),
        (_closed, "📝", "État inconnu : `10.0.0.121:5432 postgres`."),
        (_closed, "🔍", "| `10.0.0.121:5432 postgres` | ❌ not searched: no CONNECT privilege |"),
        (_notice, "🔧", "| `CREATE TABLE`, already exists, skipping |"),
        (_words, "🔧", "Statut indiqué par Prisma : `All is well.`"),
        (_already, "🔧", "Déjà enregistrée avant ce run, qui n'a rien écrit"),
        (_row_missing, "📦", "`public.inbound_addresses[kbz_test, AMAZON, FR]` | — | — | — | ❌ leader, ❌ replica |"),
        (_email, "📦", "`other@example.org`"),
        (_served, "⚠️", "| ✅ présente (`HTTP 401`) |"),
        (_served, "📝", "Reste à traiter : 3 routes"),
        (_deployment, "⚠️", "Deployment `dev/api`, réplicas prêts : 2 sur 3, image `api:1.2`"),
        (_source, "⚠️", "`src/other.ts:99`"),
        (_unseen, "✅", "\n  - ❌ aucun constat de `has_index`\n"),
        (_box, "✅", "- [ ] Tables DB existent sur `keybuzz_backend` — contrôles conformes : 3 sur 4"),
    ],
)  # fmt: skip
def test_a_changed_fact_changes_the_report(change: Callable[[Json], None], emoji: str, said: str) -> None:
    evidence = evidence_of("applied")
    assert said not in section(composed(), emoji)
    change(evidence)
    assert said in section(composed(evidence=evidence), emoji)


def test_served_routes_are_no_problem() -> None:
    evidence = evidence_of("applied")
    for row in evidence["api_routes"]["answers"]["routes"]["findings"]:
        row["verdict"] = "PASS"
    text = composed(evidence=evidence)
    assert "## 🌐 ROUTES API" in text
    assert "Option A" not in text
    assert "Chaque route déclarée est servie." in section(text, "📝")


def test_rows_and_findings_that_do_not_match_are_refused() -> None:
    evidence = evidence_of("applied")
    facts(evidence, "seed_verification", "rows")["rows"].pop()
    with pytest.raises(EvidenceError, match="18 findings on rows, but 17 rows"):
        composed(evidence=evidence)


# Escaping


HOSTILE = "a|b `c` <script>x</script> **d** [e](f) $g$ _h_ & ~i~\n# j \\"


@pytest.mark.parametrize("function", [markdown.escaped, markdown.code])
@pytest.mark.parametrize(
    "value", [HOSTILE, "<b>", "|", "`", "``` x", "a\nb", "\\", "-", "x_y_z", "&lt;", "", "~~x~~"]
)
def test_a_value_shows_as_it_is_in_a_table_cell(function: Callable[[object], str], value: str) -> None:
    page = rendered(f"| A | B |\n|---|---|\n| {function(value)} | z |\n")
    ((shown, last),) = page.rows[1:]
    assert (shown.split() or ["—"], last) == (value.split() or ["—"], "z")
    assert page.names <= {"table", "thead", "tbody", "tr", "th", "td", "code"}


def test_names_stay_readable() -> None:
    assert markdown.escaped("kb_backend") == "kb_backend"
    assert markdown.escaped(None) == "—"
    assert markdown.code(None) == "—"


def test_hostile_values_of_a_database_break_nothing() -> None:
    evidence = evidence_of("applied")
    plain = rendered(composed(evidence=evidence))
    _hostile(evidence)
    text = composed(evidence=evidence)
    page = rendered(text)
    assert "script" not in page.names
    assert [len(row) for row in page.rows] == [len(row) for row in plain.rows]
    assert len(markdown.headings(text)) == len(FACTS)
    assert any(HOSTILE.split() == cell.split() for row in page.rows for cell in row)


def _hostile(evidence: Json) -> None:
    leader = facts(evidence, "report", "last_look")["targets"]
    for target in ("leader", "replica"):
        leader[target]["tables"]["public.OAuthState"]["owner"] = HOSTILE
        leader[target]["enums"]["public.MarketplaceType"]["labels"][0] = "```\n## x\n```"
    facts(evidence, "seed_verification", "rows")["rows"][0]["row"]["emailAddress"] = HOSTILE
    facts(evidence, "baseline_migration", "apply")["outcomes"][0]["notices"] = [HOSTILE]
    facts(evidence, "prisma_resolve", "confirm")["said"]["output"] = "## x | `y`"


def test_a_text_of_the_phase_keeps_its_markdown_and_nothing_else() -> None:
    assert markdown.authored("**a** `b`\n## c") == "**a** `b` ## c"
    assert markdown.authored("<b>|") == r"&lt;b>\|"


# Languages


def messages() -> set[str | tuple[str, ...]]:
    """Return the messages of all templates and pages as a catalogue names them: with its plural, where it has one."""
    found: set[str | tuple[str, ...]] = set(language.SIZES)
    for path in language.texts().glob("*.j2"):
        with path.open("rb") as template:
            for _, function, message, _ in babel_extract(template, ("_", "ngettext"), (), {}):
                texts = (message,) if isinstance(message, str) else message
                found.add(tuple(texts[:2]) if function == "ngettext" else texts[0])
    for path in PAGES.rglob("*.py"):
        with path.open("rb") as module:
            found.update(str(message) for _, message, _, _ in extract("python", module, {"words": None}))
    return found


@pytest.mark.parametrize("lang", [lang for lang in language.languages() if lang != "en"])
def test_every_message_is_translated_and_none_is_left_over(lang: str) -> None:
    with (language.texts() / f"{lang}.po").open("rb") as file:
        catalog = read_po(file, locale=lang, abort_invalid=True)
    entries = {entry.id: entry for entry in catalog if entry.id}
    assert entries.keys() == messages()
    assert [entry.id for entry in entries.values() if entry.fuzzy or not all(entry.string)] == []
    assert [entry.id for entry in entries.values() if list(entry.check(catalog))] == []
    placeholders = re.compile(r"%\(\w+\)s")
    for entry in entries.values():
        ids, strings = (x if isinstance(x, tuple | list) else (x,) for x in (entry.id, entry.string))
        wanted = set(placeholders.findall(ids[-1]))
        assert all(set(placeholders.findall(string)) == wanted for string in strings), entry.id
    assert not catalog.obsolete


def test_the_catalogues_are_found() -> None:
    assert {"en", "fr"} <= set(language.languages())


@pytest.mark.parametrize("lang", ["de", "", "../fr", "FR"])
def test_an_unknown_language_is_refused(lang: str) -> None:
    with pytest.raises(PreconditionFailed, match=r"no report in the language .*Choose one of en, fr"):
        composed(lang=lang)


def test_a_third_language_is_one_more_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in language.texts().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "de.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\nPlural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
        'msgid "Report"\nmsgstr "Bericht"\n'
        'msgid "%(num)s row"\nmsgid_plural "%(num)s rows"\nmsgstr[0] "%(num)s Zeile"\nmsgstr[1] "%(num)s Zeilen"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(language, "texts", lambda: tmp_path)
    assert language.languages() == ("de", "en", "fr")
    text = composed(lang="de")
    assert "— Bericht" in text
    assert "5 Zeilen" in text
    assert "24. November 2026" in text
    assert "Restore the Amazon/Inbound tables" in text  # the phase file has it in French and English only


@pytest.mark.parametrize(
    ("moment", "lang", "said"),
    [
        ("2026-01-07T17:47:59.123Z", "fr", "7 janvier 2026, 17:47:59 UTC"),
        ("2026-01-07 23:30:00-02:00", "en", "January 8, 2026, 01:30:00 UTC"),
        ("2026-01-07T01:02:03", "en", "January 7, 2026, 01:02:03 UTC"),
    ],
)
def test_dates_are_in_words_and_utc(moment: str, lang: str, said: str) -> None:
    assert language.dated(moment, lang) == said


# Writing both languages


def save_in(
    folder: Path, change: Callable[[str, str], str] = lambda name, text: text
) -> Callable[[str, str], Path]:
    def save(name: str, text: str) -> Path:
        (folder / name).write_text(change(name, text), encoding="utf-8")
        return folder / name

    return save


def written(save: Callable[[str, str], Path], run: str = "applied", evidence: Json | None = None) -> Answer:
    sessions = Sessions(PHASE.targets, application_name="test")
    return report.write(PHASE, sessions, evidence=recorded(run, evidence), save=save)


def verdicts(answer: Answer) -> dict[str, Verdict]:
    return {f"{f.check} {f.object}": f.verdict for f in answer.findings}


@pytest.mark.parametrize("run", ["applied", "planned"])
def test_both_reports_are_written_and_agree(run: str, tmp_path: Path) -> None:
    answer = written(save_in(tmp_path), run)
    assert verdicts(answer) == {
        "report_is_written report.en.md": Verdict.PASS,
        "report_is_written report.fr.md": Verdict.PASS,
        "reports_agree report.fr.md": Verdict.PASS,
    }
    for lang, file in answer.facts.files.items():
        content = (tmp_path / f"report.{lang}.md").read_bytes()
        assert (file.file, file.sha256) == (f"report.{lang}.md", hashlib.sha256(content).hexdigest())
        assert content.decode() == composed(run, lang)
    assert [row["file"] for row in answer.rows] == ["report.en.md", "report.fr.md"]


def test_a_failed_run_has_one_section_more(tmp_path: Path) -> None:
    evidence = evidence_of("applied")
    evidence["report"]["answers"]["last_look"]["findings"].append(finding("FAIL"))
    answer = written(save_in(tmp_path), evidence=evidence)
    assert [f.have for f in answer.findings if f.check == "report_is_written"] == ["11 sections"] * 2
    assert answer.verdict is Verdict.PASS


def test_a_report_that_was_cut_short_fails(tmp_path: Path) -> None:
    answer = written(save_in(tmp_path, lambda name, text: text[: len(text) // 2]))
    found = verdicts(answer)
    assert found["report_is_written report.fr.md"] is Verdict.FAIL
    (cut,) = [f for f in answer.findings if f.object == "report.fr.md" and f.check == "report_is_written"]
    assert "not seeds, routes, files, checklist, next, conclusion" in cut.have


@pytest.mark.parametrize(
    ("old", "new"),
    [("5 lignes", "6 lignes"), ("`11 x`", ""), ("MarketplaceType: AMAZON", "MarketplaceType: EBAY")],
)
def test_reports_that_say_different_figures_fail(old: str, new: str, tmp_path: Path) -> None:
    def change(name: str, text: str) -> str:
        text = text.replace("11.1 KiB", "`11 x`").replace("11,1 Kio", "`11 x`") if old == "`11 x`" else text
        return text.replace(old, new) if name == "report.fr.md" else text

    answer = written(save_in(tmp_path, change))
    assert verdicts(answer)["reports_agree report.fr.md"] is Verdict.FAIL
    assert verdicts(answer)["report_is_written report.fr.md"] is Verdict.PASS


def test_reports_that_cannot_be_written_are_errors(tmp_path: Path) -> None:
    def refuse(name: str, text: str) -> Path:
        raise EvidenceError(f"{name} could not be written: disk full.", "Free space.")

    assert set(verdicts(written(refuse)).values()) == {Verdict.ERROR}
    assert {f.check for f in written(refuse).findings} == {"report_is_written", "reports_agree"}


def test_reports_that_cannot_be_read_back_are_errors(tmp_path: Path) -> None:
    answer = written(lambda name, text: tmp_path / name)
    assert set(verdicts(answer).values()) == {Verdict.ERROR}
    assert answer.facts.files == {}


def test_one_report_alone_cannot_agree(tmp_path: Path) -> None:
    def save(name: str, text: str) -> Path:
        if name == "report.en.md":
            raise EvidenceError("disk full", "Free space.")
        return save_in(tmp_path)(name, text)

    assert verdicts(written(save)) == {
        "report_is_written report.en.md": Verdict.ERROR,
        "report_is_written report.fr.md": Verdict.PASS,
        "reports_agree report.*.md": Verdict.ERROR,
    }


def test_evidence_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    evidence = evidence_of("applied")
    facts(evidence, "seed_verification", "rows")["rows"].pop()
    assert set(verdicts(written(save_in(tmp_path), evidence=evidence)).values()) == {Verdict.ERROR}


def test_the_checklist_says_what_each_box_was_judged_by() -> None:
    sessions = Sessions(PHASE.targets, application_name="test")
    items = report.checklist(PHASE, sessions, evidence=recorded("applied")).facts.items
    assert [(item.ticked, item.passed, item.judged) for item in items[-3:]] == [
        (True, 8, 8),
        (False, 0, 4),
        (False, 0, 0),
    ]
    assert [row.check for row in items[-2].not_passed] == ["route_is_served"] * 4


def test_a_table_of_which_something_is_judged_later_is_not_as_declared_yet() -> None:
    """Its owner and its rows are right, and a column is still to come: no tick."""
    evidence = evidence_of("applied")
    row = "| `OAuthState` | kb_backend | "
    (before,) = [line for line in composed(evidence=evidence).splitlines() if line.startswith(row)][:1]
    assert before.endswith("✅ |")
    findings = evidence["report"]["answers"]["last_look"]["findings"]
    one = next(f for f in findings if (f["object"], f["target"]) == ("public.OAuthState", "leader"))
    findings.append({**one, "check": "columns_are", "verdict": "SKIP"})
    (after,) = [line for line in composed(evidence=evidence).splitlines() if line.startswith(row)][:1]
    assert after.endswith("⏸️ |")


def test_what_the_replay_does_not_judge_is_listed() -> None:
    evidence = evidence_of("applied")
    have = "1 of 2 statements judged; not judged: line 3 INSERT plans (rows)"
    row = {"check": "migration_objects_stand", "target": "leader", "object": "2_plans", "have": have}
    row |= {"want": "every statement judged", "verdict": "OPEN", "hint": "See for yourself."}
    asked = evidence["prisma_resolve"]["answers"]["history"]
    answer = {**asked, "verdict": "OPEN", "facts": {}, "findings": [row]}
    evidence["prisma_resolve"]["answers"]["live_schema"] = answer
    said = "instructions jugées : 1 sur 2 ; non jugé : line 3 INSERT plans (rows)"
    for lang, words, told in (
        ("fr", "Non jugé par le rejeu", said),
        ("en", "Not judged by the replay", f"`{have}`"),
    ):
        (line,) = (each for each in composed(lang=lang, evidence=evidence).splitlines() if words in each)
        assert f"`2_plans` — {told}" in line
        assert words not in composed(lang=lang)


@pytest.mark.parametrize(
    ("lang", "rows", "lag"),
    [
        (
            "en",
            "Rows were not judged at `legacy`: `data = false`",
            "Any lag was let pass at `replica`: no `max_lag_bytes`",
        ),
        ("fr", "Les lignes n'ont pas été jugées sur `legacy`", "Tout retard est admis sur `replica`"),
    ],
)
def test_what_a_phase_lets_be_at_whole_targets_is_said(lang: str, rows: str, lag: str) -> None:
    told = section(composed(lang=lang), "🔍")
    assert rows in told
    assert lag in told
    targets = {
        name: replace(target, data=True, max_lag_bytes=0 if target.primary else None)
        for name, target in PHASE.targets.items()
    }
    strict = section(composed(lang=lang, phase=replace(PHASE, targets=targets)), "🔍")
    assert "data = false" not in strict
    assert "max_lag_bytes" not in strict
