"""The workspace: a second admin site, in which every page is one tenant's.

Django's admin shows all rows of a table unless each page says otherwise, in a dozen places. Here
the base classes say it once, a system check (`tenant_checks`) refuses pages that go round them,
and each page runs in its tenant's transaction, so that row-level security is a second wall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, include, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.sites import UnfoldAdminSite

from marketplace import audit, authentication, modes, organizations, panel_pages, panels
from marketplace.access import Caller, Scope, acting, planned_anew
from marketplace.admin_parts import own_transactions
from marketplace.errors import NotFound
from marketplace.models import Membership, Organization, User

# The session's choice among the organizations of a member of several.
ORGANIZATION_KEY = "studio_organization"
# Addresses of the admin that a tenant must not have: `view_on_site` tells, for any model, which ids
# exist; Unfold's search keeps what it found by person, whichever organization they turn to next;
# passwords change elsewhere.
_LEFT_OUT = {"view_on_site", "search", "password_change", "password_change_done"}


class Section(StrEnum):
    """Where a page stands in the menu."""

    STUDIO = "studio"  # license out
    LICENSES = "licenses"  # license in
    ORGANIZATION = "organization"


SECTION_TITLES = {
    Section.STUDIO: gettext_lazy("Studio"),
    Section.LICENSES: gettext_lazy("Licenses"),
    Section.ORGANIZATION: gettext_lazy("Organization"),
}


@dataclass(frozen=True, slots=True)
class Link:
    """A line of the menu that leads to a page that is no table's."""

    section: Section
    place: int
    title: Any
    icon: str
    # The page's name, for `TenantSite.page`.
    name: str
    # What looking at it takes.
    read: Scope


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a checklist, as a page shows it. Without an address, it is others' to do."""

    label: Any
    help: Any
    url: str
    is_done: bool
    # Who can do it, where the caller cannot.
    who: Any = ""


def checklist(title: Any, items: list[Item]) -> dict[str, Any]:
    """What `studio/checklist.html` reads: the items, and the first that is not done."""
    return {
        "checklist_title": title,
        "checklist": items,
        "next_item": next((one for one in items if not one.is_done and one.url), None),
    }


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the checklist on the first page. It ticks itself."""

    place: int
    label: Any
    # Words, or what says them of the value of `state`.
    help: Any
    url: Callable[[Caller], str]
    # Rows stand for whether there are any: all steps' rows are looked for at once.
    is_done: Callable[[Caller], bool | QuerySet[Any]]
    # What doing it takes; None: everybody does it for themselves.
    write: Scope | None = None
    # One value of one row (None where there is none), read with all steps' rows.
    state: Callable[[Caller], QuerySet[Any]] | None = None


class _Completions(AutocompleteJsonView):
    """What a field that completes offers: rows of one's own, as their pages call them."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        return {**super().serialize_result(obj, to_field_name), "text": studio.label(obj)}


class TenantSite(UnfoldAdminSite):  # type: ignore[misc]
    """Pages for the members of one organization at a time."""

    site_header = site_title = gettext_lazy("Licet")
    index_title = gettext_lazy("Start")
    index_template = "studio/index.html"

    def __init__(self, name: str = "studio") -> None:
        super().__init__(name)
        self.steps: list[Step] = []
        self.links: list[Link] = []
        self._hung: list[tuple[str, Callable[[Callable[[Any], Any]], list[URLPattern]]]] = []
        # Deletion is not offered: what was licensed must stay.
        self.disable_action("delete_selected")

    def hang(self, name: str, patterns: Callable[[Callable[[Any], Any]], list[URLPattern]]) -> None:
        """Take pages that are no table's, below their own name, behind the same wall.

        `patterns` makes them of a function, which turns a view of (request, caller, …) into one of
        Django's. They open their own transactions.
        """
        self._hung.append((name, patterns))

    def _bound(self, view: Any) -> Any:
        @own_transactions
        def bound(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
            request.current_app = self.name
            frame = {"base_template": "studio/base.html"}
            request.frame = lambda: {**self.each_context(request), **frame}  # type: ignore[attr-defined]
            found: HttpResponseBase = view(request, the_caller(request), **arguments)
            return found

        return self.admin_view(bound)

    # --- who is here ---

    def caller(self, request: HttpRequest) -> Caller | None:
        """The organization that this request works for, found once; None for a member of nobody."""
        if not hasattr(request, "studio_caller"):
            request.studio_caller = self._find_caller(request)  # type: ignore[attr-defined]
        found: Caller | None = request.studio_caller  # type: ignore[attr-defined]
        return found

    def _find_caller(self, request: HttpRequest) -> Caller | None:
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return None
        found = authentication.signed_in(user)
        request.studio_organizations = [one.organization for one in found.memberships]  # type: ignore[attr-defined]
        chosen = request.session.get(ORGANIZATION_KEY, "")
        try:
            caller = found.caller(chosen)
        except NotFound:
            # No longer a member of what was chosen.
            caller = found.caller()
        return None if caller is None else modes.applied(request, caller)

    def has_permission(self, request: HttpRequest) -> bool:
        return self.caller(request) is not None

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Everybody signs in at the same place. A member of nobody is told so."""
        if not request.user.is_authenticated:
            target = request.GET.get("next", "") or self._index()
            return redirect_to_login(target, settings.LOGIN_URL)
        if self.has_permission(request):
            return redirect(self._index())
        return render(request, "studio/no_organization.html", status=403)

    @staticmethod
    def _index() -> str:
        return "/studio/"

    # --- pages ---

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        @wraps(view)
        def walled(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            caller = self.caller(request)
            if caller is None:
                raise PermissionDenied
            if getattr(view, "own_transactions", False):
                response = view(request, *args, **kwargs)
                return _answered(response, caller)
            # Not `writing`: this page's transaction belongs to no API request.
            with acting(caller, writing=False):
                return _answered(view(request, *args, **kwargs), caller)

        return super().admin_view(walled, cacheable)

    def get_urls(self) -> list[Any]:
        urls = [url for url in super().get_urls() if getattr(url, "name", "") not in _LEFT_OUT]
        choose = path("organization/", self.admin_view(self.choose), name="organization")
        return [
            choose,
            *panel_pages.urls(self, panels.Section.STUDIO, the_caller),
            *panel_pages.urls(self, panels.Section.LICENSES, the_caller, below="licenses/"),
            *(
                path(f"{name}/", include((patterns(self._bound), name)))
                for name, patterns in self._hung
            ),
            *urls,
        ]

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        caller = the_caller(request)
        items = self._items(caller)
        is_open = any(not one.is_done for one in items)
        title = _("From nothing to a listed offer") if is_open else _("You are listed")
        context = {
            "title": caller.organization.name,
            **checklist(title, items),
            "is_open": is_open,
            **panel_pages.dashboard(request, self, _first(caller), caller),
            "recent": audit.acts(caller, most=10),
        }
        page: TemplateResponse = super().index(request, {**context, **(extra_context or {})})
        return page

    def _items(self, caller: Caller) -> list[Item]:
        """The checklist as it stands for the caller: who cannot do a step reads who can."""
        steps = sorted(self.steps, key=lambda step: step.place)
        found = []
        for step, (is_done, state) in zip(steps, _standing(caller, steps), strict=True):
            may = step.write is None or caller.may(step.write)
            help = step.help(state) if callable(step.help) else step.help
            url = step.url(caller) if may else ""
            who = "" if may or is_done else who_may(step.write)
            found.append(Item(step.label, help, url, is_done, who))
        return found

    def app_index(self, request: HttpRequest, app_label: str, extra_context: Any = None) -> Any:
        return redirect(self._index())

    @staticmethod
    @own_transactions
    @require_POST
    def choose(request: HttpRequest) -> HttpResponse:
        """Work for another of one's organizations from now on, in test mode."""
        user = request.user
        assert isinstance(user, User)
        chosen = request.POST.get("organization", "")
        try:
            caller = authentication.signed_in(user).caller(chosen) if chosen else None
        except NotFound:
            caller = None
        if caller is None:
            raise Http404
        request.session[ORGANIZATION_KEY] = str(caller.organization.pk)
        # Live mode is chosen for one organization; what was shown for the other is not sent here.
        modes.forget(request)
        modes.end_open_forms(request)
        messages.success(
            request, _("You now work for %(name)s.") % {"name": caller.organization.name}
        )
        return redirect(TenantSite._index())

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        caller = self.caller(request)
        return {
            **context,
            "site_base": "studio/base.html",
            "templates": {"navigation": "studio/navigation.html"},
            "organization": caller.organization if caller else None,
            "livemode": caller is not None and caller.livemode,
            "role_may_write": caller is not None and self._may_write(caller),
            "organizations": getattr(request, "studio_organizations", []),
        }

    def _get_colors(self, key: str, *args: Any) -> dict[str, Any]:
        # They stand in studio/colors.css: Unfold would write them into each page.
        return {}

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """The menu: the tables that the caller may look at, by section."""
        start = reverse("admin:index", current_app=self.name)
        groups: list[dict[str, Any]] = [
            {
                "title": "",
                "items": [
                    {
                        "title": _("Start"),
                        "link": start,
                        "icon": "home",
                        "active": request.path == start,
                    },
                    *self._figures(request),
                ],
            }
        ]
        for section in Section:
            pages = sorted(
                (
                    one
                    for one in self._registry.values()
                    if one.section == section and one.has_module_permission(request)
                ),
                key=lambda one: one.place,
            )
            lines = [(one.place, self._menu_item(request, one)) for one in pages]
            lines += self._linked(request, section)
            items = [item for _place, item in sorted(lines, key=lambda line: line[0])]
            if items:
                groups.append({"title": SECTION_TITLES[section], "items": items})
        return groups

    def _linked(self, request: HttpRequest, section: Section) -> list[tuple[int, dict[str, Any]]]:
        caller = self.caller(request)
        urls = {one.name: self.page(one.name) for one in self.links}
        # Pages stand below others: the nearest is where one is.
        here = max((url for url in urls.values() if request.path.startswith(url)), default="")
        return [
            (
                one.place,
                {
                    "title": one.title,
                    "link": urls[one.name],
                    "icon": one.icon,
                    "active": urls[one.name] == here,
                },
            )
            for one in self.links
            if one.section == section and caller is not None and caller.may(one.read)
        ]

    def _figures(self, request: HttpRequest) -> list[dict[str, Any]]:
        titles = {
            panels.Section.STUDIO: _("Figures: license out"),
            panels.Section.LICENSES: _("Figures: license in"),
        }
        caller = self.caller(request)
        links = {one: self.page(f"{one}-panels") for one in titles if panels.of(one, caller)}
        return [
            {
                "title": titles[section],
                "link": link,
                "icon": "bar_chart",
                "active": request.path.startswith(link),
            }
            for section, link in links.items()
        ]

    def _menu_item(self, request: HttpRequest, pages: Any) -> dict[str, Any]:
        name = f"admin:{pages.opts.app_label}_{pages.opts.model_name}_changelist"
        link = reverse(name, current_app=self.name)
        return {
            "title": pages.menu_title or capfirst(pages.opts.verbose_name_plural),
            "link": link,
            "icon": pages.icon,
            "active": request.path.startswith(link),
        }

    def page(self, name: str, *arguments: Any) -> str:
        """The address of a page of this site."""
        return reverse(f"admin:{name}", args=arguments, current_app=self.name)

    def label(self, row: Any) -> str:
        """What people call a row."""
        pages = self._registry.get(type(row))
        label: Callable[[Any], str] = getattr(pages, "label", str)
        return label(row)

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        return cast(HttpResponse, _Completions.as_view(admin_site=self)(request))

    def _may_write(self, caller: Caller) -> bool:
        """Whether the caller's role lets them do anything at all here."""
        scopes = {getattr(pages, "write", None) for pages in self._registry.values()}
        return any(caller.may(scope) for scope in scopes if scope is not None)

    def get_log_entries(self, request: HttpRequest) -> QuerySet[LogEntry]:
        """None: who did what stands in the audit, by organization."""
        return LogEntry.objects.none()


def _first(caller: Caller) -> panels.Section:
    """Whose figures the first page shows: what labs do is to license in."""
    is_lab = caller.organization.kind == Organization.Kind.LAB
    return panels.Section.LICENSES if is_lab else panels.Section.STUDIO


def _standing(caller: Caller, steps: list[Step]) -> list[tuple[bool, Any]]:
    """Whether each step is done, and its state: by one query, however many there are."""
    asked = [step.is_done(caller) for step in steps]
    read: dict[str, Any] = {
        f"done_{n}": Exists(one) for n, one in enumerate(asked) if not isinstance(one, bool)
    }
    read |= {
        f"state_{n}": Subquery(step.state(caller)) for n, step in enumerate(steps) if step.state
    }
    # Every caller has an organization: its row takes the answers, whatever else there is.
    own = Organization.objects.filter(pk=caller.organization.pk)
    with planned_anew():
        found: dict[str, Any] = own.annotate(**read).values(*read).get() if read else {}
    return [
        (one if isinstance(one, bool) else found[f"done_{n}"], found.get(f"state_{n}"))
        for n, one in enumerate(asked)
    ]


def who_may(scope: Scope | None) -> str:
    """Which roles may do what a caller may not, in words."""
    roles = [role for role, scopes in organizations.ROLE_SCOPES.items() if scope in scopes]
    names = [str(Membership.Role(role).label).lower() for role in roles]
    return _("Your role cannot do this. Who can: %(roles)s.") % {"roles": ", ".join(names)}


def the_caller(request: HttpRequest) -> Caller:
    """The caller of a request inside the studio."""
    caller = studio.caller(request)
    if caller is None:
        raise PermissionDenied
    return caller


def _answered(response: HttpResponseBase, caller: Caller) -> HttpResponseBase:
    if isinstance(response, TemplateResponse) and not response.is_rendered:
        with acting(caller, writing=False):
            response.render()  # while the rows can still be read
    return response


studio = TenantSite()
