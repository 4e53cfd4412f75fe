# The CUDA kernels, a library of their own: whoever links only `tare` needs no CUDA. Compiled without FMA contraction and
# with IEEE division (tare_flags), like the CPU, so that both give the same bits.
if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(TARE_NVCC nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(NOT TARE_NVCC)
    message(FATAL_ERROR "TARE_CUDA needs nvcc: install the CUDA Toolkit or run `make setup-cuda`, and name the compiler "
                        "with -DCMAKE_CUDA_COMPILER=<folder>/bin/nvcc")
  endif()
  set(CMAKE_CUDA_COMPILER ${TARE_NVCC})
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90)
endif()
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know that nvcc speaks C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
find_package(CUDAToolkit REQUIRED)

file(GLOB TARE_CUDA_SOURCES CONFIGURE_DEPENDS cuda/*.cu cuda/*.cpp)
find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT} PATH_SUFFIXES lib lib64)
if(NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_LIBRARY)
  message(FATAL_ERROR "TARE_CUDA needs cuDNN 9: install it beside the CUDA Toolkit or run `make setup-cuda`, or name it with "
                      "-DCUDNN_INCLUDE_DIR=… -DCUDNN_LIBRARY=…")
endif()
add_library(tare_cuda ${TARE_CUDA_SOURCES})
add_library(tare::tare_cuda ALIAS tare_cuda)
target_include_directories(tare_cuda PRIVATE cuda host ${CUDNN_INCLUDE_DIR})
target_compile_options(tare_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda>)
target_link_libraries(tare_cuda PUBLIC tare PRIVATE $<BUILD_INTERFACE:tare_flags> CUDA::cudart_static CUDA::cublasLt ${CUDNN_LIBRARY} OpenMP::OpenMP_CXX fmt::fmt
                      nlohmann_json::nlohmann_json)
target_link_options(tare_cuda PRIVATE LINKER:--version-script=${TARE_EXPORTS})
set_target_properties(tare_cuda PROPERTIES LINK_DEPENDS ${TARE_EXPORTS} VERSION ${PROJECT_VERSION} SOVERSION 0)
install(TARGETS tare_cuda EXPORT tareTargets)
