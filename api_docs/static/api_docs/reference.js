// The interactive reference.
"use strict";

const page = document.getElementById("swagger-ui");

SwaggerUIBundle({
  url: page.dataset.document,
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  // No other: another one's badge sends the document's address to a validator elsewhere.
  layout: "BaseLayout",
  deepLinking: true,
  requestInterceptor(request) {
    // Who is signed in may try things out without a key; the token goes to nobody else.
    const isOurs = new URL(request.url, document.baseURI).origin === location.origin;
    if (isOurs && !["GET", undefined].includes(request.method)) {
      request.headers["X-CSRFToken"] = page.dataset.token;
    }
    return request;
  },
});
