#!/bin/sh
# Fills two pages of a hidden route, in the two forms in which that can be said.
#
#     docs/examples/fill.sh [ADMIN [SITE]]
#
# ADMIN is the edge's admin port, SITE how clients ask for the site. Where the admin port has
# tokens, put one with the scope `fill` into FOREBAY_TOKEN.
set -eu
admin=${1:-http://127.0.0.1:6090}
site=${2:-http://127.0.0.1:8080}
token=${FOREBAY_TOKEN:-}

# A whole response, as HTTP/1.1 writes it: status line, fields, an empty line, the content.
printf 'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: max-age=60\r\n\r\n<h1>A whole response</h1>\n' |
    curl -sS --fail-with-body -X PUT "$admin/v1/fill?url=$site/whole" \
        -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/http' --data-binary @-

# The content alone. What the response says beside it stands in Forebay-Fill-Status and in
# Forebay-Fill-NAME; Content-Type counts as its own.
printf '<h1>The content alone</h1>\n' |
    curl -sS --fail-with-body -X PUT "$admin/v1/fill?url=$site/plain" \
        -H "Authorization: Bearer $token" \
        -H 'Forebay-Fill-Status: 200' \
        -H 'Forebay-Fill-Cache-Control: max-age=60' \
        -H 'Forebay-Fill-Surrogate-Key: example' \
        -H 'Content-Type: text/html' --data-binary @-
