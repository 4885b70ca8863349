"""What the known causes mean and what to do about them, in Chinese, by their codes."""

from typing import Dict, Tuple

CAUSES_IN_CHINESE: Dict[str, Tuple[str, str]] = {
    "wrong-build": (
        "这个 torch 不是锁文件指定的 {backend} 构建：装了别的版本，或别的版本先被找到。",
        "用安装包重新装进一个全新的环境（--venv）；检查用户目录、PYTHONPATH 和 conda 里是否另有 torch。",
    ),
    "fabric-manager": (
        "本机的 NVSwitch 互连（HGX、DGX）没有初始化：fabric manager 没有运行，或版本与驱动不一致。",
        "在主机上安装与驱动（{driver}）版本完全相同的 nvidia-fabricmanager 并启动，直到 `nvidia-smi -q` 显示 Fabric State: Completed。",
    ),
    "driver-library-mismatch": (
        "内核里仍是旧驱动模块，而库文件已是新驱动：升级驱动后没有重启。",
        "重启机器；或结束所有使用 GPU 的进程后重新加载 nvidia 内核模块。容器则需重启容器。",
    ),
    "compat-on-consumer-gpu": (
        "cuda-compat 的 libcuda 挡在驱动自带的前面；它只支持数据中心和部分专业卡，不支持 {devices}，或不接受该驱动分支。",
        "把 cuda-compat 目录（如 /usr/local/cuda/compat）从 LD_LIBRARY_PATH 和 /etc/ld.so.conf.d 中去掉，或卸载 cuda-compat-*；之后 {backend} 需要驱动 {needs} 或更新。本安装包中现在即可运行的构建：{others}。",
    ),
    "compat-too-old": (
        "libcuda 与内核驱动不匹配：旧的 cuda-compat 或另一版驱动的库，先于驱动 {driver} 自带的库被找到。",
        "卸载 cuda-compat 或把它移出库路径；容器需重新启动以挂载主机驱动库；升级驱动后要重启机器。",
    ),
    "driver-stub": (
        "加载到的 libcuda 是 CUDA 工具包里仅供链接用的 stub。",
        "把所有 .../stubs 目录从 LD_LIBRARY_PATH 中去掉；容器要用 --gpus all 和 NVIDIA container toolkit 启动。",
    ),
    "ptx-unsupported": (
        "需要在运行时编译 PTX，而驱动 {driver} 不认识这个较新 CUDA 的 PTX：次版本兼容不包括 PTX。",
        "安装驱动 {toolkit} 或更新；或改用对该 GPU 有原生代码的构建：{others}。",
    ),
    "driver-too-old": (
        "驱动（{driver}）对此构建太旧：{backend} 需要 {needs} 或更新。",
        "安装驱动 {needs} 或更新（{toolkit} 起全部支持，包括 PTX）；或用本安装包中适合现有驱动的构建：{others}；数据中心 GPU 也可用 cuda-compat。",
    ),
    "driver-too-old-by-table": (
        "按 NVIDIA 的对照表，此驱动不能运行该构建：{verdict}。",
        "安装驱动 {needs} 或更新，或用本安装包中适合现有驱动的构建：{others}。",
    ),
    "jetson": (
        "这是 Jetson：它的 GPU 只能运行专用代码，官方 wheel 里没有。",
        "使用 NVIDIA 为该 JetPack 构建的 wheel，或本安装包的 cpu 构建。",
    ),
    "no-kernel-image": (
        "此构建没有 {devices} 的代码：芯片比 {backend} 所支持的更新或更旧。",
        "换用架构列表包含该芯片的构建（旧芯片：cu126 或 cu118；Blackwell：cu128 起）；本安装包中有：{others}。升级驱动没有帮助。",
    ),
    "device-not-served": (
        "此构建没有本机设备的代码：{verdict}。",
        "换用架构列表包含该芯片的构建；本安装包中有：{others}。",
    ),
    "devices-hidden": (
        "当前环境变量对 CUDA（或 HIP、SYCL）隐藏了所有 GPU。",
        "取消该变量，或写上 `nvidia-smi -L` 列出的设备。在 Slurm 下要申请 GPU（--gres=gpu:1）。",
    ),
    "capabilities-without-compute": (
        "容器得到的驱动不包含计算库。",
        "用 NVIDIA_DRIVER_CAPABILITIES=compute,utility（或 all）启动容器。",
    ),
    "container-without-gpu": (
        "这是一个没有分配 GPU 的容器。",
        "用 --gpus all（Docker）、--device nvidia.com/gpu=all（Podman）、--nv（Apptainer）或 nvidia.com/gpu 资源（Kubernetes）启动；主机需要 NVIDIA container toolkit。若只是制作镜像，请在运行处再验证一次。",
    ),
    "mig": (
        "GPU 处于 MIG 模式，而这里没有可用的实例。",
        "创建实例（nvidia-smi mig -cgi … -C），并在 CUDA_VISIBLE_DEVICES 中写 `nvidia-smi -L` 给出的 UUID；一个进程只能看到一个 MIG 实例。",
    ),
    "wsl-linux-driver": (
        "WSL 内安装了 Linux 驱动，它的 libcuda 挡住了 Windows 提供的。",
        "在 WSL 内卸载 Linux 驱动包（libcuda1、nvidia-*、cuda-drivers）；驱动只装在 Windows 上。",
    ),
    "wsl-without-libcuda": (
        "Windows 没有向此 WSL 提供 CUDA：是 WSL 1，或 Windows 的 NVIDIA 驱动缺失或太旧。",
        "在 Windows 中安装 NVIDIA 驱动，运行 `wsl --update`、`wsl --set-version NAME 2`、`wsl --shutdown`。",
    ),
    "nouveau": (
        "显卡由开源驱动 nouveau 占用，NVIDIA 驱动无法加载；nouveau 不支持 CUDA。",
        "在 /etc/modprobe.d 屏蔽 nouveau，重建 initramfs，重启，再安装 NVIDIA 驱动。",
    ),
    "secure-boot": (
        "Secure Boot 只加载已签名的内核模块，而 NVIDIA 模块没有加载：多半没有用本机信任的密钥签名。",
        "登记模块的密钥（mokutil --import），或用发行版已签名的驱动，或关闭 Secure Boot；详见 `dmesg | grep -i nvidia`。",
    ),
    "module-not-loaded": (
        "有 NVIDIA 显卡，但没有加载驱动：没有安装，或没有为当前内核编译。",
        "安装驱动 {needs} 或更新，或为当前内核重新编译模块（dkms autoinstall），然后 modprobe nvidia。",
    ),
    "smi-no-driver": (
        "NVIDIA 工具在，但驱动的内核模块没有响应。",
        "运行 modprobe nvidia，查看 `dmesg | grep -i nvrm`；升级内核后要重新编译模块（dkms autoinstall），否则重装驱动。",
    ),
    "no-uvm": (
        "缺少统一内存设备，CUDA 无法启动：容器只得到部分设备，或模块 nvidia_uvm 没有加载。",
        "在主机上运行 nvidia-modprobe -c 0 -u；容器要传入 /dev/nvidia-uvm 和 /dev/nvidia-uvm-tools，或用 --gpus all。",
    ),
    "no-numbered-device": (
        "有驱动的控制设备，但没有任何 GPU 设备：容器或作业没有分到 GPU。",
        "分配 GPU（--gpus all、--gres=gpu:1、nvidia.com/gpu 资源），或在主机上运行 nvidia-modprobe -c 0。",
    ),
    "device-permission": (
        "设备文件存在，但当前用户无权打开。",
        "NVIDIA：/dev/nvidia* 的权限应为 0666。AMD、Intel：把用户加入 render 和 video 组后重新登录（容器用 --group-add）。",
    ),
    "gpu-lost": (
        "GPU 本身已无响应，或报告内存损坏。",
        "查看 Xid 信息（`dmesg | grep -i xid`），重置 GPU 或重启；若再次出现，检查供电、插槽或显卡。",
    ),
    "device-busy": (
        "另一进程独占了 GPU（exclusive 计算模式），或已死的进程仍占着它。",
        "用 `nvidia-smi` 查看进程和计算模式；`nvidia-smi -c 0` 允许多个进程。",
    ),
    "gpu-memory": (
        "GPU 显存已被其他进程占用；本验证需要约 500 MB。",
        "结束那些进程（见 `nvidia-smi`），再验证一次。",
    ),
    "cuda-unknown": (
        "CUDA 无法启动而驱动没有说明原因：多为 nvidia_uvm 模块状态异常（休眠之后）、缺少设备文件或 cgroup 禁止访问。",
        "运行 modprobe -r nvidia_uvm && modprobe nvidia_uvm 或重启；容器需重启（主机 `systemctl daemon-reload` 后会丢失设备）。",
    ),
    "cgroup-forbids": (
        "容器里仍能看到 GPU 文件，但 cgroup 已不允许使用。",
        "重启容器；改用 cgroupfs 或显式列出设备（--device /dev/nvidia0 …），以免 `systemctl daemon-reload` 再次收回。",
    ),
    "invalid-device": (
        "CUDA 可以运行但找不到设备：变量指定了不存在的设备，或这里没有分到 GPU。",
        "把 CUDA_VISIBLE_DEVICES 与 `nvidia-smi -L` 对照，或取消该变量。",
    ),
    "no-kfd": (
        "缺少 AMD 计算设备：没有加载 amdgpu 内核模块，或容器没有得到该设备。",
        "加载 amdgpu；容器用 --device /dev/kfd --device /dev/dri --group-add render --group-add video 启动。",
    ),
    "xpu-runtime": (
        "Intel 计算运行时（Level Zero）找不到 GPU，或没有安装。",
        "安装 intel-level-zero-gpu（libze1、libze-intel-gpu1）和支持该 GPU 的内核；把用户加入 render 组。",
    ),
    "no-driver": (
        "这里没有 torch 能找到的 NVIDIA 驱动。",
        "安装驱动 {needs} 或更新；若本机不用 GPU，请用 cpu 构建。若是给其他机器准备的镜像，可保持不变，到那里再验证。",
    ),
    "no-gpu": (
        "本机看不到任何 GPU。",
        "若本机不需要 GPU，请用 cpu 构建；若是给其他机器准备的镜像，可保持不变，到那里再验证。",
    ),
    "minor-version-compatibility": (
        "驱动比构建的 CUDA 旧，靠次版本兼容运行：运行时编译的代码（PTX、部分 torch.compile）可能失败。",
        "驱动 {toolkit} 或更新没有这个限制。",
    ),
    "hanging": (
        "该步骤没有返回：驱动挂起、网络文件系统无响应，或 GPU 出错。",
        "用 `dmesg` 查看 Xid 或 hung task 信息，试试 `nvidia-smi`；如果只是磁盘慢，稍后再验证（--prove-only）。",
    ),
    "illegal-instruction": (
        "CPU 不支持该构建使用的指令。",
        "换机器、换旧版 torch，或在虚拟机中直通主机 CPU（cpu model host）以获得 AVX2。",
    ),
    "memory-killed": (
        "进程被内核杀死，多半是内存耗尽：CUDA 构建的 torch 导入和启动需要 1 到 3 GB。",
        "给机器、容器或作业更多内存（见 `dmesg | grep -i oom`），再验证一次。",
    ),
    "torchvision-pairing": (
        "torchvision 是为另一个 torch 构建的：版本或后端不匹配。",
        "用安装包的同一份锁文件把两者装进全新的环境；每个 torchvision 只对应一个 torch 版本和相同的后端。",
    ),
    "torchaudio-pairing": (
        "torchaudio 是为另一个 torch 构建的。",
        "用安装包的同一份锁文件把两者装进全新的环境；每个 torchaudio 只对应一个 torch 版本。",
    ),
    "glibc-too-old": (
        "系统的 C 库比该构建所需的旧。",
        "使用适合此 glibc 的锁文件（fetch 时给 --glibc 或本机的 detect 文件），或更新系统、容器。",
    ),
    "libstdcxx-too-old": (
        "找到的 C++ 库比该构建所需的旧：系统自带的、conda 的，或 LD_LIBRARY_PATH 放在前面的。",
        "把相关目录从 LD_LIBRARY_PATH 去掉；conda 中安装 libstdcxx-ng；否则更新系统或容器。",
    ),
    "other-cuda-libraries": (
        "加载了其他版本的 CUDA 库，而不是随 torch 安装的：被库路径或残留的包放在了前面。",
        "取消 LD_LIBRARY_PATH（torch 自带 CUDA 库，不需要工具包）后再验证；否则检查环境里 nvidia-* 包的其他版本。",
    ),
    "foreign-libraries": (
        "加载了系统中的库，而不是随 torch 安装的。",
        "取消 LD_LIBRARY_PATH 和 LD_PRELOAD 后再验证。",
    ),
    "mkl-mixture": (
        "另一版本的 Intel MKL 或 OpenMP 造成冲突，多半是 conda 的包与 wheel 混用。",
        "为 wheel 使用单独的环境（--venv）；conda 的 pytorch 与 wheel 不能混用。",
    ),
    "undefined-symbol": (
        "加载了互不匹配的两个库：同一环境里有两个版本的文件，或前面还有一份。",
        "在取消 LD_LIBRARY_PATH 和 LD_PRELOAD 的情况下装进全新的环境（--venv）。",
    ),
    "openmp-missing": (
        "缺少 OpenMP 库，此 torch 从系统取用它。",
        "从系统介质安装 libgomp1（Debian、Ubuntu）或 libgomp（Red Hat、SUSE）。",
    ),
    "system-library-missing": (
        "缺少该构建所需的系统库。",
        "从系统介质安装：libnuma1 或 numactl-libs、libopenblas0、libelf1、libdrm2 等；报错中有文件名。",
    ),
    "cuda-library-missing": (
        "找不到本应位于环境 nvidia 目录中的 CUDA 库。",
        "安装完整的锁文件（包括 nvidia-* 包）；不要用 --no-deps 只装 torch。",
    ),
    "static-tls": (
        "加载器没有空间容纳后加载库的线程局部数据（旧 glibc，多见于 ARM）。",
        "在程序中最先导入 torch，或把 LD_PRELOAD 设为报错中的库。",
    ),
    "no-exec": (
        "环境位于禁止执行的文件系统（noexec），或内存耗尽。",
        "装到没有 noexec 的文件系统（用 `findmnt -T DIR` 查看）。",
    ),
    "executable-stack": (
        "这个旧构建要求可执行栈，glibc 2.41 起或 SELinux 会拒绝。",
        "使用更新的 torch；或用 GLIBC_TUNABLES=glibc.rtld.execstack=2 启动 Python；SELinux 下允许 execstack。",
    ),
    "wrong-architecture": (
        "库文件属于其他架构，或被截断。",
        "校验安装包（--verify-only），并用本机架构的锁文件重新安装。",
    ),
    "windows-runtime": (
        "缺少 torch 需要的 DLL：多半是 Microsoft Visual C++ 运行库。",
        "安装 Visual C++ Redistributable 2015-2022（x64），再验证一次。",
    ),
    "numpy-abi": (
        "这个 torch 是为 NumPy 1 构建的，而这里是 NumPy 2（或没有）。",
        "torch 2.3 之前请锁定 numpy<2（pytorch-offline fetch … 'numpy<2'）并带过来。",
    ),
    "disk-bad": (
        "映射的文件无法读取：文件被截断、磁盘损坏或 /dev/shm 已满。",
        "再验证一次（会对每个文件重新计算哈希）；查看 `dmesg`；增大 /dev/shm（--shm-size）。",
    ),
    "crash": (
        "本机代码崩溃：多为两个版本的库混用、驱动出错或内存损坏。",
        "在全新环境中取消 LD_LIBRARY_PATH 和 LD_PRELOAD 再试；上面写明了崩溃的步骤。",
    ),
    "shadowed": (
        "正常运行此 Python 时会先找到别的东西，而不是这里安装的。",
        "删除它，或用 -I、PYTHONNOUSERSITE=1 且不带 PYTHONPATH 启动 Python。",
    ),
    "conda-torch": (
        "conda 自己也有这些包；conda 的下一步操作会覆盖它们。",
        "使用 conda 中没有 pytorch 的环境，或虚拟环境（--venv）。",
    ),
    "no-avx2": (
        "没有 AVX2 时 torch 在 CPU 上会慢数倍，一些相关的包无法启动。",
        "虚拟机中直通主机 CPU；否则无法改变。",
    ),
    "little-shared-memory": (
        "DataLoader 的工作进程通过 /dev/shm 传递张量，空间不足会出现总线错误；NCCL 也使用它。",
        "用 --shm-size=8g（或 --ipc=host）启动容器；Kubernetes 中在 /dev/shm 挂载 medium 为 Memory 的 emptyDir。",
    ),
    "home-read-only": (
        "torch.hub、torch.compile 和 CUDA 在主目录中存放缓存，将会失败或变慢。",
        "把 TORCH_HOME、TORCHINDUCTOR_CACHE_DIR、TRITON_CACHE_DIR 和 CUDA_CACHE_PATH 设到可写的位置。",
    ),
}
