// Matrix products and convolutions as the operators ask for them, in plain row-major order, of any batch. Behind it
// are the libraries (cublas.cpp, cudnn.cpp), which know nothing of ONNX; tests/cuda_host stands in for these.
#pragma once

#include <memory>

#include "tare/tensor.hpp"

namespace tare::cuda {

class Device;

/// c = alpha a b, for `batch` matrices; every size is positive. Sums are float32.
struct Product {
  DataType type = DataType::float32;    ///< of a and b: any float type
  DataType result = DataType::float32;  ///< float32, or `type`
  std::int64_t rows = 0, columns = 0, inner = 0;
  bool transpose_a = false, transpose_b = false;  ///< stored [inner, rows], [columns, inner]
  float alpha = 1;
  std::int64_t batch = 1;
  std::int64_t stride_a = 0, stride_b = 0, stride_c = 0;  ///< elements from matrix to matrix; 0: the same one
};

/// Two or three spatial dimensions; sums are float32, whatever the type. A transposed one takes `y` to `x`: x is the
/// result then.
struct Convolution {
  DataType type;  ///< of x, w and y
  Shape x;        ///< [batch, channels, spatial…]
  Shape w;        ///< [y channels, x channels / groups, kernel…]
  Shape y;
  Shape pads, strides, dilations;  ///< by spatial dimension
  std::int64_t groups = 1;
  bool transposed = false;

  /// Whether every window is one element: then it is the product of the weights and every image, too.
  bool is_pointwise() const;
  Product as_product() const;
};

class Products {
 public:
  explicit Products(Device& device);
  ~Products();
  /// Whether both take operands of this type as they are; otherwise they must be widened.
  bool takes(DataType type) const;
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  /// `bias`, where there is one and all is float32, has a number a column that is added. False where there is no
  /// algorithm for halves, which must be widened, or with a bias, which must be added apart.
  bool multiply(const Product& product, const void* a, const void* b, void* c, const void* bias = nullptr);
  /// x, w and y by their names in `Convolution`; writes y, or x when it is transposed. False as in multiply().
  bool convolve(const Convolution& convolution, const void* from, const void* weights, void* to);

 private:
  struct Libraries;

  std::unique_ptr<Libraries> libraries_;
};

}  // namespace tare::cuda
