"""Every address of the web process. The delivery process has its own: licensing.delivery_urls."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from marketplace.sign_in_pages import operators_only
from marketplace.tenant_site import studio

handler400 = "marketplace.http.bad_request"
handler403 = "marketplace.http.forbidden"
handler404 = "marketplace.http.not_found"
handler500 = "marketplace.http.server_error"

urlpatterns = [
    path(
        "v1/",
        include(
            [
                path("", include("marketplace.urls_v1")),
                path("", include("licensing.urls_v1")),
                path("", include("payments.urls_v1")),
            ]
        ),
    ),
    path("ledger/", include("licensing.ledger_urls")),
    path("stripe/", include("payments.webhook_urls")),
    path("", include("marketplace.pages")),
    path("", include("licensing.pages")),
    path("", include("payments.pages")),
    path("", include("api_docs.urls")),
    path("", include("marketplace.sign_in_pages")),
    # Before the admin's own: a password alone would open it there.
    path("admin/login/", operators_only),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", admin.site.urls),
    path("studio/", studio.urls),
]
