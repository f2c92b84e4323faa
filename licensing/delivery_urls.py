"""Every address of the delivery process: links that carry their own permission."""

from __future__ import annotations

from django.urls import path, re_path

from licensing import delivery_views
from marketplace import http
from marketplace.upload_views import UploadViewSet

handler400 = "marketplace.http.bad_request"
handler404 = "marketplace.http.not_found"
handler500 = "marketplace.http.server_error"

_DIGEST = "(?P<digest>[0-9a-f]{64})"
_GRANT = "(?P<grant>grt_[0-9a-z]{26})"
_SHARDS = "shards/(?P<manifest>[0-9a-f]{64})"

urlpatterns = [
    path("health", delivery_views.health, name="delivery-health"),
    re_path(rf"^grants/{_GRANT}/manifest$", delivery_views.manifest, name="delivery-manifest"),
    re_path(rf"^grants/{_GRANT}/works/{_DIGEST}$", delivery_views.work, name="delivery-work"),
    re_path(rf"^grants/{_GRANT}/{_SHARDS}/index[.]ndjson$", delivery_views.shard_index),
    re_path(rf"^grants/{_GRANT}/{_SHARDS}/(?P<number>[0-9]{{1,6}})[.]tar$", delivery_views.shard),
    # Pieces come here, so that slow senders hold no API thread either.
    path("v1/uploads/<str:pk>", UploadViewSet.as_view({"get": "retrieve", "patch": "append"})),
    # In development, Django's own 404 would be a page.
    re_path("", http.not_found),
]
