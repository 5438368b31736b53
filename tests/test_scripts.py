"""The shell scripts: each parses, and downloading and splitting pairs works, can be resumed, and fails clearly.

The scripts run in a copy of the project that has no training code, against a server on this machine, with the
training command replaced by echo.
"""

import contextlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHELL_SCRIPTS = sorted((ROOT / 'scripts').glob('*.sh'))
BASH = shutil.which('bash')
DOWNLOADERS = [name for name in ('curl', 'wget') if shutil.which(name)]

pytestmark = pytest.mark.skipif(BASH is None, reason='the scripts are for bash, which is not installed')
downloads = pytest.mark.skipif(not DOWNLOADERS, reason='neither curl nor wget is installed')


def picture(kind='JPEG'):
    buffer = io.BytesIO()
    # Noise is incompressible, so that half of the archive contains more than its first file.
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def pairs_archive(train=3, val=2):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as archive:
        for name in [f'train/{i}_AB.jpg' for i in range(train)] + [f'val/{i}_AB.jpg' for i in range(val)]:
            entry = tarfile.TarInfo(f'edges2shoes/{name}')
            entry.size = len(picture())
            archive.addfile(entry, io.BytesIO(picture()))
    return buffer.getvalue()


def photos_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for part, count in (('trainA', 3), ('trainB', 2), ('testA', 2), ('testB', 1)):
            for i in range(count):
                archive.writestr(f'summer2winter_yosemite/{part}/{i}.jpg', picture())
    return buffer.getvalue()


@contextlib.contextmanager
def serve(content, ranges=True):
    """A server of one file. Yields its address without the file's name, and the list of requested ranges."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            start = 0
            if 'Range' in self.headers:
                asked.append(self.headers['Range'])
                start = int(self.headers['Range'].removeprefix('bytes=').rstrip('-')) if ranges else 0
            missing = 'missing' in self.path
            body = b'' if missing else content[start:]
            self.send_response(404 if missing else 206 if start else 200)
            self.send_header('Content-Length', str(len(body)))
            if start:
                self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
            self.end_headers()
            if self.command == 'GET':
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}', asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def project(tmp_path):
    """A copy of the scripts and of the modules that read images. The blank in its path is intentional."""
    for folder in ('scripts', 'core'):
        shutil.copytree(ROOT / folder, tmp_path / 'my project' / folder, ignore=shutil.ignore_patterns('__pycache__'))
    return tmp_path / 'my project'


@pytest.fixture(params=['curl', 'wget'])
def downloader(request, tmp_path):
    """A PATH on which only this one of the two is found."""
    if request.param not in DOWNLOADERS:
        pytest.skip(f'{request.param} is not installed')
    tools = tmp_path / 'tools'
    tools.mkdir()
    for folder in reversed(os.environ['PATH'].split(os.pathsep)):
        for tool in Path(folder).glob('*') if Path(folder).is_dir() else ():
            if tool.name not in {'curl', 'wget'} - {request.param} and not (tools / tool.name).is_symlink():
                (tools / tool.name).symlink_to(tool)
    return str(tools)


def run(project, script, *flags, **environment):
    keep = {name: value for name, value in os.environ.items() if name not in ('URL', 'COUNTS', 'TRAIN', 'PYTHON')}
    environment = {**keep, 'MUNIT_PYTHON': sys.executable, 'TRAIN': 'echo TRAINED', 'no_proxy': '127.0.0.1',
                   **environment}
    # From another folder: the scripts find the project themselves.
    return subprocess.run([BASH, str(project / 'scripts' / script), *flags], cwd='/', env=environment,
                          capture_output=True, text=True, timeout=120)


def shoes(project, url, counts='3 2', **environment):
    return run(project, 'demo_train_edges2shoes.sh', '--resume', URL=f'{url}/edges2shoes.tar.gz', COUNTS=counts,
               **environment)


def counts(folder, *parts):
    return [len(list((folder / part).glob('*.jpg'))) for part in parts]


def last_line(text):
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize('script', SHELL_SCRIPTS, ids=lambda path: path.name)
def test_every_script_parses(script):
    done = subprocess.run([BASH, '-n', str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('name', ['edges2shoes', 'edges2handbags', 'summer2winter_yosemite256'])
def test_training_scripts_can_be_run_and_name_their_config(name):
    script = ROOT / 'scripts' / f'demo_train_{name}.sh'
    assert os.access(script, os.X_OK)
    assert f'configs/{name}_folder.yaml "$@"' in script.read_text()
    assert (ROOT / 'configs' / f'{name}_folder.yaml').is_file()


def test_pairs_are_fetched_split_and_trained_on(project, downloader):
    with serve(pairs_archive()) as (url, _):
        done = shoes(project, url, PATH=downloader)
    assert done.returncode == 0, done.stderr
    assert last_line(done.stdout) == 'TRAINED --config configs/edges2shoes_folder.yaml --resume'
    folder = project / 'datasets' / 'edges2shoes'
    assert counts(folder, 'trainA', 'trainB', 'testA', 'testB') == [3, 3, 2, 2]
    assert Image.open(folder / 'trainA' / '0_AB.jpg').size == (32, 32)
    assert sorted(path.name for path in (project / 'datasets').iterdir()) == ['edges2shoes', 'edges2shoes.tar.gz']

    # Again, without the server and with unneeded files deleted: everything is skipped.
    (project / 'datasets' / 'edges2shoes.tar.gz').unlink()
    shutil.rmtree(folder / 'train')
    done = shoes(project, url, PATH=downloader)
    assert done.returncode == 0 and 'Downloading' not in done.stdout and 'Splitting' not in done.stdout
    assert last_line(done.stdout).startswith('TRAINED')


@pytest.mark.parametrize('ranges', [True, False], ids=['server continues', 'server cannot continue'])
def test_a_partial_download_is_continued(project, downloader, ranges):
    content = pairs_archive()
    half = len(content) // 2
    (project / 'datasets').mkdir()
    (project / 'datasets' / 'edges2shoes.tar.gz.part').write_bytes(content[:half])
    with serve(content, ranges) as (url, asked):
        done = shoes(project, url, PATH=downloader)
    assert done.returncode == 0, done.stderr
    assert asked[0] == f'bytes={half}-'
    assert (project / 'datasets' / 'edges2shoes.tar.gz').read_bytes() == content


def test_a_missing_address_is_one_clear_line(project, downloader):
    with serve(b'') as (url, _):
        done = run(project, 'demo_train_edges2shoes.sh', URL=f'{url}/missing.tar.gz', PATH=downloader)
    assert done.returncode == 2 and 'TRAINED' not in done.stdout
    assert 'could not download' in last_line(done.stderr) and 'missing.tar.gz' in last_line(done.stderr)
    assert not list((project / 'datasets').iterdir())


@downloads
def test_a_damaged_archive_is_one_clear_line(project):
    content = pairs_archive()
    with serve(content[:len(content) // 2]) as (url, _):
        done = shoes(project, url)
    assert done.returncode == 2 and 'TRAINED' not in done.stdout
    assert last_line(done.stderr) == \
        'datasets/edges2shoes.tar.gz is damaged or not an archive: delete it and run this again'
    assert not (project / 'datasets' / 'edges2shoes').exists()


@downloads
def test_a_wrong_count_is_one_clear_line(project):
    with serve(pairs_archive()) as (url, _):
        done = shoes(project, url, counts='4 2')
    assert done.returncode == 2 and 'TRAINED' not in done.stdout
    assert '3 images in train where 4 are expected' in last_line(done.stderr)
    assert counts(project / 'datasets' / 'edges2shoes', 'train', 'trainA') == [0, 0]


@downloads
def test_images_that_are_there_already_are_never_touched(project):
    theirs = project / 'datasets' / 'edges2shoes' / 'train' / 'theirs.jpg'
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(picture())
    with serve(pairs_archive()) as (url, asked):
        done = shoes(project, url)
    assert done.returncode == 2 and 'move it away' in last_line(done.stderr) and theirs.exists()


def test_a_killed_split_is_finished(project):
    # A run that was killed while splitting leaves unpacked pairs and only some of the halves.
    folder = project / 'datasets' / 'edges2shoes'
    for part, count in (('train', 3), ('val', 2)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            (folder / part / f'{i}_AB.jpg').write_bytes(picture())
    (folder / 'trainA').mkdir()
    (folder / 'trainA' / '0_AB.jpg').write_bytes(picture())
    done = shoes(project, 'http://127.0.0.1:9')
    assert done.returncode == 0, done.stderr
    assert counts(folder, 'trainA', 'trainB', 'testA', 'testB') == [3, 3, 2, 2]


@downloads
def test_unpaired_photos_come_in_a_zip(project):
    script, flags = 'demo_train_summer2winter_yosemite256.sh', {'COUNTS': '3 2 2 1'}
    with serve(photos_archive()) as (url, _):
        done = run(project, script, URL=f'{url}/summer2winter_yosemite.zip', **flags)
    assert done.returncode == 0, done.stderr
    assert last_line(done.stdout) == 'TRAINED --config configs/summer2winter_yosemite256_folder.yaml'
    folder = project / 'datasets' / 'summer2winter_yosemite256' / 'summer2winter_yosemite'
    assert counts(folder, 'trainA', 'trainB', 'testA', 'testB') == [3, 2, 2, 1]
    assert run(project, script, URL=f'{url}/gone.zip', **flags).returncode == 0

    shutil.rmtree(project / 'datasets' / 'summer2winter_yosemite256')
    archive = project / 'datasets' / 'summer2winter_yosemite.zip'
    content = archive.read_bytes()
    archive.write_bytes(content[:200] + bytes(50) + content[250:])
    done = run(project, script, **flags)
    assert done.returncode == 2 and 'summer2winter_yosemite.zip is damaged' in last_line(done.stderr)


@pytest.mark.parametrize('value', ['3', '3 2 1', 'many few'])
def test_counts_are_checked(project, value):
    done = shoes(project, 'http://127.0.0.1:9', counts=value)
    assert done.returncode == 2 and done.stderr.startswith(f"COUNTS='{value}'") and done.stderr.count('\n') == 1


@downloads
def test_training_that_fails_fails_the_script(project):
    with serve(pairs_archive()) as (url, _):
        assert shoes(project, url, TRAIN='false').returncode == 1


# ---- ensure_venv -----------------------------------------------------------------------------------------------------

def ensure_venv(project, **environment):
    (project / 'scripts' / 'probe.sh').write_text(
        'set -euo pipefail\n. "$(dirname "${BASH_SOURCE[0]}")/common.sh"\n'
        'ensure_venv requirements.txt\necho "PY=$PY"\n')
    return run(project, 'probe.sh', **environment)


def test_an_interpreter_that_is_given_is_used_as_it_is(project):
    done = ensure_venv(project)
    assert done.returncode == 0 and done.stdout == f'PY={sys.executable}\n' and not (project / '.venv').exists()
    done = ensure_venv(project, MUNIT_PYTHON='no-such-python')
    assert done.returncode == 2 and done.stderr == "MUNIT_PYTHON: there is no interpreter 'no-such-python'\n"


@pytest.mark.slow
def test_the_environment_is_made_once_and_follows_the_requirements(project):
    pytest.importorskip('ensurepip', reason='this Python cannot make environments')
    (project / 'requirements.txt').write_text('# nothing yet\n')
    base = os.path.realpath(sys.executable)
    done = ensure_venv(project, MUNIT_PYTHON='', PYTHON=base)
    assert done.returncode == 0, done.stderr
    assert 'Making .venv' in done.stdout and 'Installing requirements.txt' in done.stdout
    assert last_line(done.stdout) == f'PY={project}/.venv/bin/python'

    assert ensure_venv(project, MUNIT_PYTHON='').stdout == f'PY={project}/.venv/bin/python\n'

    (project / 'requirements.txt').write_text('./no-such-package\n')
    done = ensure_venv(project, MUNIT_PYTHON='')
    assert done.returncode == 2 and last_line(done.stderr).startswith('pip could not install requirements.txt')

    (project / 'requirements.txt').write_text('# nothing again\n')
    assert 'Installing requirements.txt' in ensure_venv(project, MUNIT_PYTHON='').stdout
    assert (project / '.venv' / 'requirements.installed').read_text().count('requirements.txt ') == 1


def test_an_interpreter_that_is_missing_is_one_clear_line(project):
    done = ensure_venv(project, MUNIT_PYTHON='', PYTHON='no-such-python')
    assert done.returncode == 2 and done.stderr.startswith("there is no interpreter 'no-such-python'")


def test_a_sheet_shows_pictures_as_other_commands_read_them(tmp_path):
    from scripts import make_sheet
    Image.new('RGBA', (8, 8), (10, 20, 30, 0)).save(tmp_path / 'clear.png')
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / 'deep.png')
    assert make_sheet.main(['--output', str(tmp_path / 'o.png'), '--cell', '8', '--row', str(tmp_path / 'clear.png'),
                            str(tmp_path / 'deep.png')]) == 0
    sheet = np.asarray(Image.open(tmp_path / 'o.png'))
    assert (sheet[4:12, 4:12] == 255).all() and (sheet[4:12, 16:24] == 128).all()
