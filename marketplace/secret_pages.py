"""Pages of rows that have a secret: the page after the one that made it shows it, once."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from marketplace import shown_once
from marketplace.tenant_pages import TenantModelAdmin


class SecretPages(TenantModelAdmin):
    """Pages of one table whose rows are made with a secret.

    `make` returns its row with the secret as `new_secret`, for the page that follows and for
    nothing else. A verb that makes another one says so in `Done.secret`.
    """

    # Above the secret: what it is of (with the row's `name`), and what to do with it. And what
    # to tell whoever comes a second time.
    secret_title: ClassVar[Any]
    secret_intro: ClassVar[Any]
    secret_gone: ClassVar[Any]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        """On to the page that shows the secret: to load that again makes no second row."""
        answer = redirect(self._url("secret", obj))
        shown_once.hand_over(request, answer, obj.new_secret, path=answer.url)
        return answer

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(never_cache(require_safe(self.secret_view)))
        name = f"{self.opts.app_label}_{self.opts.model_name}_secret"
        return [path("<path:object_id>/secret/", view, name=name), *super().get_urls()]

    def secret_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Show a secret to whoever just made it: neither a message nor a row holds it."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        secret = shown_once.take(request)
        if secret is None:
            messages.warning(request, str(self.secret_gone))
            return redirect(self._url("change", row))
        answer = TemplateResponse(
            request,
            "studio/secret.html",
            {
                **self.admin_site.each_context(request),
                "title": self.secret_title % {"name": self.label(row)},
                "intro": self.secret_intro,
                "secret": secret,
                "row_url": self._url("change", row),
                "opts": self.opts,
            },
        )
        shown_once.clear(answer, path=request.path)
        return answer
