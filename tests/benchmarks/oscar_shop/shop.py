"""A shop of django-oscar-api, as its documentation sets one up, for `oscar_peer`.

Run by its own Python, alone in its environment: nothing here is imported by us. `python shop.py
COUNT` makes its tables, and so many products; `application` serves them.
"""

from __future__ import annotations

import os
import sys

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import include, path
from psycopg.conninfo import conninfo_to_dict

_database = conninfo_to_dict(os.environ["DATABASE_URL"])
# Each app's own configuration, by name, as its documentation lists them.
_SHOP = {
    **{
        name: f"{name.title()}Config"
        for name in (
            *("analytics", "checkout", "address", "shipping", "catalogue", "communication"),
            *("partner", "basket", "payment", "offer", "order", "customer", "search"),
            *("voucher", "wishlists", "dashboard"),
        )
    },
    "catalogue.reviews": "CatalogueReviewsConfig",
    **{
        f"dashboard.{name}": f"{name.title()}DashboardConfig"
        for name in (
            *("reports", "users", "orders", "catalogue", "offers", "partners", "pages"),
            *("ranges", "reviews", "vouchers", "communications", "shipping"),
        )
    },
}
_DJANGO = "admin auth contenttypes sessions messages sites flatpages staticfiles"

if not settings.configured:
    # Beside Django's settings stand the shop's defaults, all of them names in capitals.
    from oscar import defaults

    settings.configure(
        **{name: getattr(defaults, name) for name in dir(defaults) if name.isupper()}
        | {
            "OSCAR_ALLOW_ANON_CHECKOUT": True,
            "OSCAR_DEFAULT_CURRENCY": "USD",
            "OSCAR_SEND_REGISTRATION_EMAIL": False,
            "OSCAR_INITIAL_ORDER_STATUS": "Complete",
        },
        ALLOWED_HOSTS=["127.0.0.1"],
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
        # As ours: a connection stays.
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": _database["dbname"],
                **{
                    name.upper(): str(_database.get(name, ""))
                    for name in ("host", "port", "user", "password")
                },
                "CONN_MAX_AGE": None,
                "ATOMIC_REQUESTS": True,
            }
        },
        DEBUG=False,
        EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
        HAYSTACK_CONNECTIONS={
            "default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}
        },
        INSTALLED_APPS=[
            *(f"django.contrib.{name}" for name in _DJANGO.split()),
            "oscar.config.Shop",
            *(f"oscar.apps.{name}.apps.{config}" for name, config in _SHOP.items()),
            *("widget_tweaks", "haystack", "treebeard", "django_tables2"),
            *("rest_framework", "oscarapi"),
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            "oscarapi.middleware.ApiBasketMiddleWare",
        ],
        # Without it, a list is all products there are.
        REST_FRAMEWORK={
            "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
            "PAGE_SIZE": 20,
        },
        ROOT_URLCONF="shop",
        SECRET_KEY="of a benchmark",
        SITE_ID=1,
        STATIC_URL="/static/",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        USE_TZ=True,
    )
    django.setup()

urlpatterns = [path("api/", include("oscarapi.urls"))]
application = get_wsgi_application()


def load(count: int) -> None:
    """Make the tables, and products that need no shipping, each with a price."""
    from django.core.management import call_command
    from oscar.core.loading import get_model

    call_command("migrate", verbosity=0)
    shelf = get_model("catalogue", "ProductClass").objects.create(
        name="License", requires_shipping=False, track_stock=False
    )
    partner = get_model("partner", "Partner").objects.create(name="Archive")
    product, stock = get_model("catalogue", "Product"), get_model("partner", "StockRecord")
    for first in range(0, count, 5_000):
        made = product.objects.bulk_create(
            product(
                structure="standalone",
                upc=f"u{number}",
                title=f"Collection {number}",
                slug=f"collection-{number}",
                description="What is in it, and whence. " * 8,
                product_class=shelf,
            )
            for number in range(first, min(first + 5_000, count))
        )
        stock.objects.bulk_create(
            stock(product=each, partner=partner, partner_sku=each.upc, price="500.00")
            for each in made
        )


if __name__ == "__main__":
    load(int(sys.argv[1]))
