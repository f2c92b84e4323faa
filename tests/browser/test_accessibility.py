"""Every page of the workspace and the operators' admin, by WCAG 2.2 AA, on a desk and a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin

from licensing.models import Grant, HeldGrant
from marketplace import operator_pages, operators
from marketplace.access import system
from marketplace.tenant_pages import own
from marketplace.tenant_site import studio
from tests.browser.conftest import VisitorFor
from tests.browser.visitor import DESKTOP, PASSWORD, PHONE, Visitor
from tests.people import caller_for
from tests.security.studio_world import Tenant, others, settle

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
# Where pictures of the pages go, for whoever wants to look at them.
PICTURES = os.environ.get("LICET_PICTURES", "")


def pages_of(tenant: Tenant) -> Iterator[str]:
    """Every page of the workspace, one row of each table, as its owner."""
    yield from ("/studio/", "/studio/mode/")
    yield from (studio.page(link.name) for link in studio.links)
    with system("list the pages of a test"):
        for model, pages in studio._registry.items():
            base = f"/studio/{model._meta.app_label}/{model._meta.model_name}/"
            yield base
            if pages.add_form is not None:
                yield f"{base}add/"
            rows = pages.narrow(
                own(model, caller_for(tenant.organization)), caller_for(tenant.organization)
            )
            row = rows.order_by("-pk").first()
            if row is not None:
                yield f"{base}{row.pk}/change/"
                yield f"{base}{row.pk}/history/"
                yield from (f"{base}{row.pk}/{verb.name}/" for verb in pages.verbs)
        held = HeldGrant.objects.filter(licensee=tenant.organization).first()
    assert held is not None
    question = studio.page("questions:license", str(held.pk))
    # Asked and answered, and with a form that asks for more.
    yield from (question, f"{question}?use=pretrain&territory=EU", f"{question}?use=pretrain")


def admin_pages() -> Iterator[str]:
    yield from ("/admin/", "/admin/doctor/")
    yield from (f"/admin/waiting/{kind.key}/" for kind in operator_pages.WAITING)
    with system("list the pages of a test"):
        for model, pages in admin.site._registry.items():
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            yield base
            row = model._default_manager.first()
            if row is not None:
                yield f"{base}{row.pk}/change/"
            for act in getattr(pages, "acts", ()):
                if act.is_making:
                    yield f"{base}do/{act.name}/"
                elif row is not None:
                    yield f"{base}{row.pk}/do/{act.name}/"


def faults(visitor: Visitor, paths: list[str], size: tuple[int, int]) -> Iterator[str]:
    for path in paths:
        status = visitor.open(path)
        if status != 200:
            yield f"{path}: status {status}"
        for fault in visitor.violations():
            yield f"{path}: {fault}"
        if visitor.overflow() > 0:
            yield f"{path}: {visitor.overflow()} pixels too wide"
        if PICTURES:
            name = path.strip("/").replace("/", "-")
            visitor.picture(Path(PICTURES, f"{size[0]}-{name[:80]}.png"))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_no_page_of_the_workspace_breaks_wcag_2_2_aa(
    visitor_for: VisitorFor, size: tuple[int, int], ledger_keys: Any
) -> None:
    tenant = settle("Canaryone", others())
    visitor = visitor_for(size)
    visitor.sign_in(tenant.user.email, "/studio/")
    paths = list(pages_of(tenant))
    assert len(paths) >= 20
    found_ = list(faults(visitor, paths, size))
    assert (found_, visitor.complaints) == ([], []), "\n".join([*found_, *visitor.complaints])
    assert visitor.complaints == []
    with system("look at the grants of a test"):
        assert Grant.objects.count() == 2


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_no_page_of_the_operators_breaks_wcag_2_2_aa(
    visitor_for: VisitorFor, size: tuple[int, int], ledger_keys: Any
) -> None:
    settle("Canaryone", others())
    operators.appoint(email="operator@example.org", name="O", password=PASSWORD)
    visitor = visitor_for(size)
    visitor.sign_in("operator@example.org", "/admin/")
    paths = list(admin_pages())
    assert len(paths) >= 40
    found_ = list(faults(visitor, paths, size))
    assert (found_, visitor.complaints) == ([], []), "\n".join([*found_, *visitor.complaints])
    assert visitor.complaints == []
