"""The look-up of routes in source trees, style by style."""

from __future__ import annotations

import os
import time
from importlib.resources import files
from pathlib import Path, PurePosixPath

import pytest

from runbooks_lib.api import source
from runbooks_lib.api.routes_in_source import declared_routes
from runbooks_lib.api.source import read_tree
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.facts.contents import Match

STATUS = "/api/v1/marketplaces/amazon/status"


def look(tmp_path: Path, text: str, method: str = "GET", path: str = STATUS) -> list[tuple[int, Match]]:
    (tmp_path / "routes.ts").write_text(text, encoding="utf-8")
    return [(hit.line, hit.match) for hit in read_tree(tmp_path).find(method, path)]


@pytest.mark.parametrize(
    "text",
    [
        f"router.get('{STATUS}', handler);",
        f'app.get("{STATUS}", auth, handler)',
        f"fastify.get(`{STATUS}`, async () => 1)",
        f"fastify.get<{{ Params: P }}>('{STATUS}', handler)",
        f"router\n  .get(\n    '{STATUS}',\n    handler)",
        f"app.all('{STATUS}/', handler)",
        f"express.Router().get('{STATUS}', handler)",
        f"fastify.route({{ method: 'GET', url: '{STATUS}', handler }})",
        f"fastify.route({{\n url: '{STATUS}',\n method: ['HEAD', 'GET'],\n handler() {{ return {{}} }} }})",
        f"server.route([{{ method: 'POST', path: '/x' }}, {{ method: '*', path: '{STATUS}' }}])",
        f"router.route('{STATUS}').get(handler)",
        f"router.route('{STATUS}').post((a) => b(a)).get(handler)",
        "@Controller('api/v1/marketplaces/amazon')\nclass A {\n  @Get('status')\n  status() {}\n}",
        "@Controller({ path: 'api/v1/marketplaces/amazon' })\nclass A { @All('/status') x() {} }",
        f"@Controller()\nclass A {{ @Get('{STATUS}') x() {{}} }}",
        "@Controller('other') class B {}\n@Controller('/api/v1/marketplaces/amazon/status')\nclass A { @Get() x() {} }",
        f"const u = 'http://h/'; // it's here\nrouter.get('{STATUS}', h)",
        f"s.replace(/\\/\\/+$/, ''); router.get('{STATUS}', h)",
        f"s.replace(/`/g, '\\''); router.get('{STATUS}', h)",
        f"s.split(/'/); router.get('{STATUS}', h); s.split(/'/)",
        f"const s = `${{a ? `b` : 'c'}}`; router.get('{STATUS}', h)",
        f"fastify.get<{{ Params: Pick<A, keyof B<C>>; Reply: Map<string, Set<D>> }}>('{STATUS}', h)",
        f"fastify.get('{STATUS}', {{ schema, handler }})",
        f"fastify.get('{STATUS}', {{ async handler() {{}} }})",
        f"app.get(['/x', '{STATUS}'], h)",
        f"router?.get('{STATUS}', /* who may */ auth, h)",
        f"const api = new Hono().get('/x', (c) => c.text('x')).get('{STATUS}', (c) => c.json({{}}))",
        f"app.on(['PUT', 'GET'], '{STATUS}', (c) => c.text('x'))",
        f"app.openapi(createRoute({{ method: 'get', path: '{STATUS}', responses: {{}} }}), h)",
        "@Controller(['x', 'api/v1/marketplaces/amazon'])\nexport class A { @Get(['y', 'status']) @Http(1) x() {} }",
        "export default @Controller('api/v1/marketplaces') class A<T> { constructor(private a: B<C<T>>) {}"
        " @Get('amazon/status') x(@Res({ passthrough: true }) r: R<X<Y>>): Promise<Z<T>> {} }",
    ],
)
def test_exact(tmp_path: Path, text: str) -> None:
    assert [match for _, match in look(tmp_path, text)] == [Match.EXACT]


@pytest.mark.parametrize(
    "text",
    [
        "router.get('/marketplaces/amazon/status', handler)",
        "router.get('amazon/status', handler)",
        "router.get(`${PREFIX}/amazon/status`, handler)",
        "router.get(PREFIX + '/amazon/status', handler)",
        f"router.get(config.prefix + '{STATUS}', handler)",
        "@Controller('marketplaces/amazon')\nclass A { @Get('status') x() {} }",
        "router.get('/marketplaces/:marketplace/status', handler)",
        "@Controller(PREFIX) class A { @Get('amazon/status') x() {} }",
        "@Controller(`${PREFIX}/v1/marketplaces`) class A { @Get('amazon/status') x() {} }",
    ],
)
def test_suffix(tmp_path: Path, text: str) -> None:
    assert [match for _, match in look(tmp_path, text)] == [Match.SUFFIX]


@pytest.mark.parametrize(
    "text",
    [
        "router.get('/status', handler)",
        "router.get('/:marketplace/status', handler)",
        f"router.post('{STATUS}', handler)",
        f"router.get('{STATUS}/more', handler)",
        f"router.get('/v2{STATUS}', handler)",
        f"// router.get('{STATUS}', handler)",
        f"/* router.get('{STATUS}', handler) */",
        f"const doc = \"router.get('{STATUS}', handler)\";",
        f"cache.get('{STATUS}')",
        f"request(app).get('{STATUS}').expect(200)",
        f"axios.get('{STATUS}', options)",
        f"this.http.get('{STATUS}', options)",
        f"axios({{ method: 'GET', url: '{STATUS}' }})",
        f"app.route({{ method: 'POST', url: '/x', handler() {{ axios({{ method: 'GET', url: '{STATUS}' }}) }} }})",
        f"router.route('{STATUS}').post(handler)",
        f"await api.get('{STATUS}', options)",
        f"api.get('{STATUS}', {{ headers: {{}} }})",
        f"axios.create({{}}).get('{STATUS}', options)",
        f"emitter.on('{STATUS}', 'x', handler)",
        f"const r = /router.get('{STATUS}', handler)/;",
        f"@Controller() class A {{}}\nclass B {{ @Get('{STATUS}') x() {{}} }}",
        f"@Controller() class A {{ @get('{STATUS}') x() {{}} }}",
        f"cache.get(['{STATUS}'])",
        "@Get('status') class A {}",
        "router.get('/', handler); router.get('', handler)",
        "",
    ],
)
def test_not_declared(tmp_path: Path, text: str) -> None:
    assert look(tmp_path, text) == []


@pytest.mark.parametrize(
    ("wanted", "declared", "match"),
    [
        ("/tenants/{id}", "/tenants/:tenantId", Match.EXACT),
        ("/tenants/:id", "/tenants/:tenantId", Match.EXACT),
        ("/tenants/me", "/tenants/:tenantId", Match.PARAMETER),
        ("/tenants/:id", "/tenants/me", None),
        ("/health", "/:anything", None),
    ],
)
def test_parameters(tmp_path: Path, wanted: str, declared: str, match: Match | None) -> None:
    found = look(tmp_path, f"app.get('{declared}', h)", path=wanted)
    assert found == ([(1, match)] if match else [])


def test_a_hit_says_where_and_what(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "b"
    folder.mkdir(parents=True)
    (folder / "z.mjs").write_bytes(
        b"\x0c// caf\xe9\r\n\r\n  r.get('/a/b', h) // here\r\n  r.get('/a/b', i)\r\n"
    )
    (tmp_path / "src" / "a.js").write_text("r.get('/a/b', h)" + " " * 500)
    first, second, third = read_tree(tmp_path).find("get", "/a/b")
    assert (first.file, first.line, first.path) == ("src/a.js", 1, "/a/b")
    assert (second.file, second.line, second.text) == ("src/b/z.mjs", 3, "r.get('/a/b', h) // here")
    assert third.line == 4


def test_what_is_not_the_services_source_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 100)
    route = "r.get('/a/b', h)"
    for name in ("node_modules/x/i.js", ".git/i.js", "dist/i.js", "a.test.ts", "a.d.ts", "a.py", "a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(route)
    (tmp_path / "big.js").write_text(route + " " * 100)
    os.mkfifo(tmp_path / "pipe.js")
    outside = tmp_path / "dist" / "i.js"
    (tmp_path / "link.js").symlink_to(outside)
    assert read_tree(tmp_path).find("GET", "/a/b") == ()


def test_a_tree_that_is_not_there_is_no_absence(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="not a folder"):
        read_tree(tmp_path / "gone").find("GET", STATUS)


def test_a_source_that_cannot_be_read_is_no_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The refusal is put in by hand: root may read everything.
    (tmp_path / "a.ts").write_text("")

    def refuse(self: Path, **kwargs: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PreconditionFailed, match=r"a\.ts cannot be read: Permission denied"):
        read_tree(tmp_path).find("GET", STATUS)


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("app/api/x/route.ts", "export async function GET() {}", True),
        ("src/app/api/(shop)/x/route.tsx", "const GET = handle(app);\nexport { GET, GET as POST };", True),
        ("apps/web/app/(a)/api/@b/x/route.js", "export const POST = 1, GET = h", True),
        ("app/api/x/route.ts", "export { handler as GET } from './h'", True),
        ("app/api/x/route.ts", "export async function POST() {}", False),
        ("app/api/x/route.ts", "async function GET() {}", False),
        ("app/api/x/page.tsx", "export function GET() { return <p>x</p> }", False),
        ("app/api/_x/x/route.ts", "export function GET() {}", False),
        ("app/api/[...all]/route.ts", "export function GET() {}", False),
        ("lib/api/x/route.ts", "export function GET() {}", False),
        ("pages/api/x.ts", "export default function handler(req, res) {}", True),
        ("src/pages/api/x/index.jsx", "const h = () => 1;\nexport { h as default }", True),
        ("pages/api/x.ts", "export const handler = 1", False),
        ("pages/x.tsx", "export default () => <p>x</p>", False),
    ],
)
def test_a_file_of_nextjs_is_the_route_of_its_folders(
    tmp_path: Path, file: str, text: str, found: bool
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    hits = read_tree(tmp_path).find("GET", "/api/x")
    assert [(hit.file, hit.match) for hit in hits] == ([(file, Match.EXACT)] if found else [])


def test_a_folder_of_nextjs_is_a_parameter(tmp_path: Path) -> None:
    for folder in ("app/api/tenants/[id]", "pages/api/shops"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "app/api/tenants/[id]/route.ts").write_text("export const GET = h")
    (tmp_path / "pages/api/shops/[shop].ts").write_text("export default h")
    tree = read_tree(tmp_path)
    assert [hit.match for hit in tree.find("GET", "/api/tenants/{tenantId}")] == [Match.EXACT]
    assert [hit.match for hit in tree.find("POST", "/api/shops/me")] == [Match.PARAMETER]


def test_what_was_not_read_whole_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 100)
    (tmp_path / "big.js").write_text("r.get('/a/b', h)" + " " * 100)
    (tmp_path / "broken.ts").write_text("r.get('/a/b', h); @@ ) class {")
    (tmp_path / "good.ts").write_text("const x = <T,>(a: T) => a satisfies B; type C = `a${D}`")
    (tmp_path / "page.tsx").write_text("export default () => <A<B> c={`/`}>it's</A>")
    tree = read_tree(tmp_path)
    assert tree.unread == ["big.js", "broken.ts"]
    assert [hit.file for hit in tree.find("GET", "/a/b")] == ["broken.ts"]


@pytest.mark.parametrize(
    "piece",
    [".get" + " " * 50, ".get(", "/*", "'", "`", "\\", "@Controller({", "{", ".route(", "a", "a.get<", "method:[",
     "@Get( ", "x + ", "${", "/", "r.get('/a',h)", ".route('/a').get(", "[", ".get('/a',h)", "'a'+",
     "@Controller() class A { @Get() x() {}", "export {"],
)  # fmt: skip
def test_time_is_linear_in_hostile_text(piece: str) -> None:
    text = (piece * 50_000)[:50_000]
    started = time.process_time()
    declared_routes(text, PurePosixPath("a.ts"))
    assert time.process_time() - started < 5


def test_the_labs_stand_in_source_has_the_four_routes() -> None:
    root = Path(str(files("runbooks_lib") / "lab" / "keybuzz-backend"))
    wanted = [
        ("GET", "/api/v1/inbound-email/connections"),
        ("GET", "/api/v1/marketplaces/amazon/status"),
        ("POST", "/api/v1/marketplaces/amazon/oauth/start"),
        ("GET", "/api/v1/marketplaces/amazon/oauth/callback"),
    ]
    for method, path in wanted:
        (hit,) = read_tree(root).find(method, path)
        assert (hit.file, hit.match) == ("src/routes/amazon.routes.ts", Match.EXACT)
        assert path in hit.text
