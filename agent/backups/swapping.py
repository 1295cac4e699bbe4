"""Putting a folder's new content in place of the old one. Renames only; a death at any moment is gone on from by `go_on`.

In the hidden folder of the data folder: `restores/<id>/new` and `.../old`, and beside them the empty file `taking` once the new content is known to
be whole, then `placing` once the old content is out of the way. Before `taking` nothing of the old was touched; from then on it goes forward only.
"""

from __future__ import annotations

import os
from contextlib import suppress

from agent.files.entries import names_in, open_folder, remove_tree
from agent.files.tree import HIDDEN, Tree

RESTORES = "restores"


def begin(restores: int, restore_id: str) -> None:
    """Folders for one restore."""
    os.mkdir(restore_id, 0o700, dir_fd=restores)
    with open_folder(restores, restore_id) as place:
        os.mkdir("new", 0o700, dir_fd=place)
        os.mkdir("old", 0o700, dir_fd=place)


def swap(tree: Tree, restores: int, restore_id: str) -> None:
    """Old out, new in. If a rename is refused before all of the old is out, what was moved is moved back. Raises OSError."""
    with open_folder(restores, restore_id) as place:
        _mark(place, "taking")
        try:
            _take(tree._root, place)
        except OSError:
            _give_back(tree._root, place)
            os.unlink("taking", dir_fd=place)
            raise
        _mark(place, "placing")
        _place(tree._root, place)


def go_on(tree: Tree) -> bool:
    """Finish what a death has left half done, remove what came to nothing. True if the new content was put in place now."""
    finished = False
    with tree.hidden(RESTORES) as restores:
        for restore_id in names_in(restores):
            finished = _finish(tree, restores, restore_id) or finished
            remove_tree(restores, restore_id)
    return finished


def clear(tree: Tree, restores: int, restore_id: str) -> None:
    """What is left of one: the old content, or a new one that came to nothing. One that stopped amid its renames is finished first, or stays.

    Raises OSError.
    """
    with suppress(FileNotFoundError):
        _finish(tree, restores, restore_id)
        remove_tree(restores, restore_id)


def _finish(tree: Tree, restores: int, restore_id: str) -> bool:
    with open_folder(restores, restore_id) as place:
        there = set(names_in(place))
        if "placing" not in there and "taking" in there:
            _take(tree._root, place)
            _mark(place, "placing")
            there.add("placing")
        if "placing" in there:
            _place(tree._root, place)
        return "placing" in there


def _mark(place: int, name: str) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=place))
    os.fsync(place)


def _take(root: int, place: int) -> None:
    with open_folder(place, "old") as old:
        for name in names_in(root):
            if name != HIDDEN:
                os.rename(name, name, src_dir_fd=root, dst_dir_fd=old)
    os.fsync(root)


def _give_back(root: int, place: int) -> None:
    with open_folder(place, "old") as old:
        for name in names_in(old):
            os.rename(name, name, src_dir_fd=old, dst_dir_fd=root)


def _place(root: int, place: int) -> None:
    with open_folder(place, "new") as new:
        for name in names_in(new):
            try:
                os.rename(name, name, src_dir_fd=new, dst_dir_fd=root)
            except OSError:  # somebody has put something of this name there meanwhile
                remove_tree(root, name)
                os.rename(name, name, src_dir_fd=new, dst_dir_fd=root)
    os.fsync(root)
