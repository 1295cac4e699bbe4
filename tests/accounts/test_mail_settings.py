"""Where mail goes, by `EMAIL_URL`: to the console in the quick start, else to a real server, in a process with settings of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.accounts.postbox import Postbox, text_of

ROOT = Path(__file__).parents[2]
SEND = (
    "import django; django.setup();"
    "from django.core.mail import EmailMessage;"
    "EmailMessage('About something', 'Words of it.', to=['dora@example.org']).send(); print('sent')"
)
TELL = (
    "from lormas import settings as s;"
    "print(s.EMAIL_BACKEND.split('.')[-2], s.EMAIL_HOST, s.EMAIL_PORT, s.EMAIL_HOST_USER, s.EMAIL_HOST_PASSWORD,"
    " s.EMAIL_USE_TLS, s.EMAIL_USE_SSL, s.EMAIL_VERIFICATION, s.EMAIL_TIMEOUT)"
)


def run(code: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    env = {**kept, "DJANGO_SETTINGS_MODULE": "lormas.settings", "LORMAS_DATA": str(data), **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_it_goes_to_the_server_that_is_named(smtp: Postbox, tmp_path: Path) -> None:
    smtp.letters.clear()
    done = run(SEND, tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{smtp.port}", EMAIL_FROM="Our panel <panel@example.org>")
    assert done.stdout.strip() == "sent", done.stderr
    (letter,) = smtp.to("dora@example.org")
    assert (letter["From"], letter["Subject"], text_of(letter).strip()) == ("Our panel <panel@example.org>", "About something", "Words of it.")


def test_without_one_it_is_printed(tmp_path: Path) -> None:
    done = run(SEND, tmp_path)
    assert "Subject: About something" in done.stdout and "Words of it." in done.stdout


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("smtp+tls://me%40example.org:p%3Aw@mail.example.org", "smtp mail.example.org 587 me@example.org p:w True False True 10"),
        ("smtps://me:pw@mail.example.org:4650", "smtp mail.example.org 4650 me pw False True True 10"),
    ],
)
def test_names_passwords_and_tls_are_read_from_it(tmp_path: Path, url: str, told: str) -> None:
    assert run(TELL, tmp_path, EMAIL_URL=url).stdout.strip() == told


@pytest.mark.parametrize("wrong", ["pop3://me:canary-pw@mail.example.org", "smtp://me:canary-pw@mail.example.org:port", "me:canary-pw@mail"])
def test_a_wrong_one_stops_the_start_without_telling_the_password(tmp_path: Path, wrong: str) -> None:
    """I02."""
    done = run(TELL, tmp_path, EMAIL_URL=wrong)
    assert done.returncode != 0
    assert "EMAIL_URL" in done.stderr and "canary-pw" not in done.stderr
