"""Addresses of files, exec, processes and terminals of a container. The file routes have two spellings."""

from __future__ import annotations

from django.urls import path

from containers.api import filefinds, files, insides

FILES = {
    "": files.FilesRoot,
    "/content": files.FileContent,
    "/download": files.FileDownload,
    "/upload": files.FileUpload,
    "/uploads": files.FileUploads,
    "/create": files.FileCreate,
    "/rename": files.FileRename,
    "/move": files.FileRename,
    "/copy": files.FileCopy,
    "/chmod": files.FileChmod,
    "/compress": files.FileCompress,
    "/decompress": files.FileDecompress,
    "/search": filefinds.FileSearch,
    "/usage": filefinds.FileUsage,
    "/trash": filefinds.FileTrash,
    "/restore": filefinds.FileRestore,
    "/edit": files.FileContent,
}

urlpatterns = [
    *(
        path(f"{prefix}{last}", view.as_view(), name=f"{name}{last.replace('/', '-')}")
        for prefix, name in (("containers/<uuid:container_id>/files", "containers-files"), ("files/<uuid:container_id>", "files"))
        for last, view in FILES.items()
    ),
    path("containers/<uuid:container_id>/files/uploads/<str:upload_id>", files.FileUploadPiece.as_view(), name="containers-files-upload-piece"),
    path("files/<uuid:container_id>/uploads/<str:upload_id>", files.FileUploadPiece.as_view(), name="files-upload-piece"),
    path("containers/<uuid:container_id>/files/<path:path>", files.FileByPath.as_view(), name="containers-files-by-path"),
    path("containers/<uuid:container_id>/exec", insides.ContainerExec.as_view(), name="containers-exec"),
    path("containers/<uuid:container_id>/exec/history", insides.ContainerExecHistory.as_view(), name="containers-exec-history"),
    path("containers/<uuid:container_id>/processes", insides.ContainerProcesses.as_view(), name="containers-processes"),
    path("containers/<uuid:container_id>/processes/<int:pid>/signal", insides.ContainerProcessSignal.as_view(), name="containers-process-signal"),
    path("containers/<uuid:container_id>/terminals", insides.ContainerTerminals.as_view(), name="containers-terminals"),
    path("containers/<uuid:container_id>/terminals/<str:name>", insides.ContainerTerminal.as_view(), name="containers-terminal"),
    path("containers/<uuid:container_id>/recordings", insides.ContainerRecordings.as_view(), name="containers-recordings"),
    path("containers/<uuid:container_id>/recordings/<str:recording_id>", insides.ContainerRecording.as_view(), name="containers-recording"),
    path("recording-policies", insides.RecordingPolicies.as_view(), name="recording-policies"),
    path("recording-policies/<uuid:policy_id>", insides.RecordingPolicyDetail.as_view(), name="recording-policies-detail"),
]
