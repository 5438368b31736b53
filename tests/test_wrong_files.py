"""Messages about files that are not checkpoints, and about checkpoints that do not exist."""
import gzip
import os
import zipfile

import pytest
import torch
from test_commands import complaint
from tiny import flags, make_model

import test as test_command
import test_batch as test_batch_command
from core.checkpoints import load_file
from core.errors import BadInput
from core.wrong_files import SHIPPED, checkpoints_in

POINTER = f'version https://git-lfs.github.com/spec/v1\noid sha256:{"4d7a2146" * 8}\nsize 60196352\n'
PAGE = '<!DOCTYPE html>\n<html lang="en"><head><title>Google Drive -\n Virus scan warning</title></head></html>'
XML = '<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model'))


def zipped(whole: bytes, path) -> None:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('models/gen_00000010.pt', whole)


@pytest.mark.parametrize('ending', ['.pt', '.safetensors'])
@pytest.mark.parametrize('write, words', [
    (lambda path, whole: path.write_text(PAGE), "an HTML page ('Google Drive - Virus scan warning'), not a checkpoint: "
                                                "download the file itself"),
    (lambda path, whole: path.write_bytes(b'\xef\xbb\xbf\n  <HTML><body>x</body>'), 'an HTML page, not a checkpoint'),
    (lambda path, whole: path.write_text(PAGE, encoding='utf-16'), 'an HTML page'),
    (lambda path, whole: path.write_text(XML), "an XML text ('The key does not exist.'), not a checkpoint"),
    (lambda path, whole: path.write_text(POINTER),
     'a Git LFS pointer, not the file of 57.4 MiB that it stands for; run "git lfs pull"'),
    (lambda path, whole: path.write_text('{"error": "Repository not found"}'),
     "a JSON text of 33 bytes, not a checkpoint; it begins with '{\"error\": \"Repository not found\"}'"),
    (lambda path, whole: path.write_text('Entry not found\n' * 500), "a text of 8000 bytes, not a checkpoint; it"),
    (lambda path, whole: path.write_text('Zugriff verweigert: für ' + 'ü' * 5000), 'a text of'),
    (lambda path, whole: path.write_bytes(b''), 'an empty file: the download or the copy did not come to its end; get'),
    (lambda path, whole: path.write_bytes(bytes(10 ** 5)), 'begins with 4096 zero bytes: the download'),
    (lambda path, whole: path.write_bytes(gzip.compress(whole)), 'not a checkpoint but a gzip archive; unpack it'),
    (lambda path, whole: path.write_bytes(b'\x89PNG\r\n\x1a\n'), 'not a checkpoint but a PNG image'),
    (lambda path, whole: zipped(whole, path), "a zip archive with 'models/gen_00000010.pt' in it; unpack it"),
    (lambda path, whole: path.write_bytes(whole[:len(whole) // 2]), 'bytes and its end is missing; the download')])
def test_a_file_that_is_not_a_checkpoint_is_identified(model, tmp_path, capsys, write, words, ending):
    path = tmp_path / f'gen{ending}'
    write(path, model['checkpoint'].read_bytes())
    for main, more in ((test_command.main, {'input': model['inputs'] / '0.png'}),
                       (test_batch_command.main, {'input_folder': model['inputs']})):
        line = complaint(capsys, main, *flags({**model, 'checkpoint': path}, output_folder=tmp_path / 'out', **more))
        assert line.startswith(f'--checkpoint {path}: ') and words in line
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('share', [0.1, 0.5, 0.95])
def test_a_truncated_legacy_file_is_recognized(model, tmp_path, share):
    path = tmp_path / 'gen.pt'
    torch.save(torch.load(model['checkpoint'], weights_only=True), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(BadInput, match='cut short'):
        load_file(path, '--checkpoint')


def test_a_safetensors_file_with_another_extension_is_recognized(model, tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    safetensors.save_file({'x': torch.zeros(2)}, tmp_path / 'gen.pt')
    with pytest.raises(BadInput, match=r'a safetensors file; give it a name that ends in \.safetensors'):
        load_file(tmp_path / 'gen.pt')


# -- missing ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    for name in ('dis_00000020.pt', 'gen_00000010.pt', 'gen_00000020.pt', 'best.safetensors', 'notes.txt', '.x.pt'):
        (tmp_path / 'runs' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'runs' / name).touch()
    return tmp_path / 'runs'


HELD = 'gen_00000020.pt, gen_00000010.pt, best.safetensors, dis_00000020.pt'
SHIPS = '; models/ has demo_edges2shoes.pt, edges2shirts.pt, edges2shirts64.pt'


@pytest.mark.parametrize('name, words', [
    ('runs/gen_00000030.pt', 'No such file or directory; {runs} has ' + HELD + SHIPS),
    ('runs/gen.safetensors', 'No such file or directory; {runs} has ' + HELD + SHIPS),
    ('runs', 'Is a directory; give a file; it has ' + HELD + SHIPS),
    ('other/deep/gen.pt', 'No such file or directory; there is no folder {folder}/other/deep, and {folder} has no '
                          'checkpoints' + SHIPS),
    ('runs/notes.txt/gen.pt', 'Not a directory; there is no folder {runs}/notes.txt, and {runs} has ' + HELD + SHIPS)])
def test_a_missing_checkpoint_lists_the_existing_ones(model, folder, capsys, name, words):
    path = folder.parent / name
    words = words.format(runs=folder, folder=folder.parent)
    for main, more in ((test_command.main, {'input': model['inputs'] / '0.png'}),
                       (test_batch_command.main, {'input_folder': model['inputs']})):
        given = flags({**model, 'checkpoint': path}, output_folder=folder.parent / 'out', **more)
        line = complaint(capsys, main, *given)
        assert line == f'--checkpoint {path}: {words}'


def test_a_missing_checkpoint_is_reported_before_a_missing_config(model, tmp_path, capsys):
    line = complaint(capsys, test_command.main, f'--checkpoint={tmp_path / "x.pt"}', f'--output_folder={tmp_path}',
                     f'--input={model["inputs"] / "0.png"}')
    assert line.startswith(f'--checkpoint {tmp_path}/x.pt: No such file or directory; {tmp_path} has no checkpoints')


def test_of_many_checkpoints_the_newest_five_are_named(folder):
    for step in range(30, 60, 10):
        (folder / f'gen_000000{step}.pt').touch()
    with pytest.raises(BadInput, match=r'gen_00000050\.pt, .*gen_00000010\.pt and 2 more; models/ has') as error:
        load_file(folder / 'x.pt')
    assert 'best' not in str(error.value)


def test_shipped_checkpoints_are_not_listed_twice():
    with pytest.raises(BadInput) as error:
        load_file(SHIPPED / 'nothing.pt')
    assert str(error.value).count('edges2shirts64.pt') == 1


@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='needs permissions that hold')
def test_a_folder_that_may_not_be_read_has_no_checkpoints(folder):
    folder.chmod(0o100)
    assert checkpoints_in(folder) == []
    folder.chmod(0o700)
