"""client-js is typed, strictly: TypeScript reads its JSDoc, and who uses it has the types."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client-js"
TSC = CLIENT / "node_modules" / ".bin" / "tsc"
USE = """
import { connect } from '@pushd/client'
const push = connect('https://push.example.com', { token: 'a.b.c', store: 'local', own: true })
push.channel<{ text: string }>('room:7').on('message', (message) => message.data.text.trim())
// @ts-expect-error it is a text
push.channel<{ text: string }>('room:7').on('message', (message) => message.data.text.nothing())
// @ts-expect-error there is no such event
push.channel('room:7').on('massage', () => {})
push.channel('room:7').on('expiring', ({ messages, inMs }) => messages + (inMs ?? 0))
push.own.on('expiring', ({ channel }) => channel.trim())
push.inbox().on('change', ({ unread }) => unread.toFixed())
push.on('state', ({ state }) => state satisfies string)
"""

pytestmark = pytest.mark.skipif(not TSC.exists(), reason="TypeScript is not installed here")


def compile_(*arguments: str, at: Path = CLIENT) -> None:
    done = subprocess.run(
        [TSC, *arguments], cwd=at, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_client_itself() -> None:
    compile_("-p", ".")


def test_a_project_that_uses_it(tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "@pushd" / "client"
    package.mkdir(parents=True)
    declare = ("--noEmit", "false", "--emitDeclarationOnly", "--outDir")
    compile_("-p", ".", *declare, str(package / "types"))
    (package / "package.json").write_text((CLIENT / "package.json").read_text())
    (tmp_path / "use.ts").write_text(USE)
    options = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022")
    compile_(*options, "--lib", "es2022,dom", "use.ts", at=tmp_path)
