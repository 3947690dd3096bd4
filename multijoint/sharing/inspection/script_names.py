"""Words that the code of a foreign TorchScript file may use: tensor arithmetic, and nothing that reaches outside it.

The list holds what networks of MONAI, PyTorch and this project call when they are scripted or traced, and the operators
of the same kinds. No operator on it takes the name of a file, opens, saves or loads anything, starts a thread or a
process, speaks to another machine, or changes a setting of PyTorch.
"""

from __future__ import annotations

_OPERATORS = """
    __and__ __contains__ __derive_index __getitem__ __iand__ __interpolate __ior__ __is__ __isnot__ __ixor__
    __lshift__ __not__ __or__ __range_length __rshift__ __upsample __upsample_bilinear __upsample_nearest __xor__
    _convolution _log_softmax _native_multi_head_attention _pack_padded_sequence _pad_packed_sequence _set_item
    _shape_as_tensor _softmax _transformer_encoder_layer_fwd _upsample_bicubic2d_aa _upsample_bilinear2d_aa
    _upsample_lanczos2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm

    Bool Complex Delete Float FloatImplicit Int IntImplicit ScalarImplicit Size append capitalize clear copy dict
    endswith extend find floordiv format get index insert items join keys len list lower mathremainder ord
    percentFormat pop replace reverse setdefault sort sorted startswith str strip title update upper values
    warn

    abs abs_ absolute acos acosh add add_ addbmm addcdiv addcdiv_ addcmul addcmul_ addmm addmv addr all allclose amax
    amin aminmax angle any arange arccos arcsin arctan arctan2 argmax argmin argsort as_strided as_tensor asin asinh
    atan atan2 atanh atleast_1d atleast_2d atleast_3d baddbmm bernoulli bernoulli_ bilinear bincount bitwise_and
    bitwise_and_ bitwise_left_shift bitwise_not bitwise_or bitwise_or_ bitwise_right_shift bitwise_xor block_diag bmm
    broadcast_tensors broadcast_to bucketize cartesian_prod cat ceil ceil_ chain_matmul chunk clamp clamp_ clamp_max
    clamp_max_ clamp_min clamp_min_ clip clip_ clone column_stack concat concatenate constant_pad_nd contiguous copy_
    copysign corrcoef cos cosh count_nonzero cpu cross cuda cummax cummin cumprod cumsum deg2rad det detach detach_
    diag diag_embed diagonal diff digamma dim dist div div_ divide dot dsplit dstack einsum element_size empty
    empty_like eq equal erf erf_ erfc erfinv exp exp2 exp_ expand expand_as expm1 eye fft_fft fft_fft2 fft_fftn
    fft_fftshift fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_irfft fft_irfftn fft_rfft fft_rfftn fill fill_
    fill_diagonal_ flatten flip fliplr flipud float_power floor floor_ floor_divide fmax fmin fmod frac frobenius_norm
    full full_like gather ge greater greater_equal gt heaviside histc hsplit hstack hypot i0 imag index_add index_add_
    index_copy index_copy_ index_fill index_fill_ index_put index_put_ index_select inner inverse isclose isfinite
    isin isinf isnan isneginf isposinf isreal item kron kthvalue le lerp lerp_ less less_equal lgamma linalg_cross
    linalg_det linalg_inv linalg_matrix_norm linalg_norm linalg_solve linalg_svd linalg_vector_norm linspace log log10
    log1p log2 log_ logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor logit logspace
    logsumexp lt masked_fill masked_fill_ masked_scatter masked_select matmul matrix_exp matrix_power max maximum mean
    median meshgrid min minimum mm mode moveaxis movedim msort mul mul_ multinomial multiply mv nan_to_num nanmean
    nanmedian nanquantile nansum narrow narrow_copy ne neg neg_ negative new_empty new_full new_ones new_zeros nonzero
    nonzero_numpy norm normal normal_ not_equal numel ones ones_like outer permute pinverse polar polygamma positive
    pow pow_ prod quantile rad2deg rand rand_like randint randint_like randn randn_like randperm ravel real reciprocal
    reciprocal_ remainder renorm repeat repeat_interleave reshape reshape_as resolve_conj resolve_neg roll rot90 round
    round_ row_stack rsqrt rsqrt_ rsub scalar_tensor scatter scatter_ scatter_add scatter_add_ scatter_reduce
    searchsorted select select_scatter sgn sigmoid sigmoid_ sign signbit sin sinc sinh size slice slice_scatter split
    split_with_sizes sqrt sqrt_ square square_ squeeze squeeze_ stack std std_mean storage_offset stride sub sub_
    subtract sum swapaxes swapdims t t_ take take_along_dim tan tanh tanh_ tensor tensor_split tensordot tile to topk
    trace transpose transpose_ trapezoid trapz tril tril_ tril_indices triu triu_ triu_indices true_divide trunc
    trunc_ type_as unbind unflatten unfold uniform_ unique_consecutive unique_dim unsqueeze unsqueeze_ vander var
    var_mean vdot view view_as view_as_complex view_as_real vsplit vstack where xlogy zero_ zeros zeros_like

    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d affine_grid_generator alpha_dropout alpha_dropout_ avg_pool1d avg_pool2d avg_pool3d batch_norm
    binary_cross_entropy binary_cross_entropy_with_logits cdist celu celu_ channel_shuffle col2im conv1d conv2d conv3d
    conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution cosine_embedding_loss cosine_similarity
    cross_entropy_loss ctc_loss dropout dropout_ elu elu_ embedding embedding_bag feature_alpha_dropout
    feature_alpha_dropout_ feature_dropout feature_dropout_ fractional_max_pool2d fractional_max_pool3d gelu gelu_ glu
    grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gru_cell hardshrink hardsigmoid hardsigmoid_ hardswish
    hardswish_ hardtanh hardtanh_ hinge_embedding_loss huber_loss im2col instance_norm kl_div l1_loss layer_norm
    leaky_relu leaky_relu_ linear log_sigmoid log_softmax lstm lstm_cell margin_ranking_loss max_pool1d
    max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d
    max_unpool3d mish mish_ mse_loss multi_margin_loss multilabel_margin_loss native_batch_norm native_dropout
    native_group_norm native_layer_norm nll_loss nll_loss2d nll_loss_nd norm_except_dim one_hot pad pairwise_distance
    pdist pixel_shuffle pixel_unshuffle poisson_nll_loss prelu reflection_pad1d reflection_pad2d reflection_pad3d relu
    relu6 relu6_ relu_ replication_pad1d replication_pad2d replication_pad3d rms_norm rnn_relu rnn_relu_cell rnn_tanh
    rnn_tanh_cell rrelu rrelu_ scaled_dot_product_attention selu selu_ silu silu_ smooth_l1_loss soft_margin_loss
    softmax softplus softshrink threshold threshold_ triplet_margin_loss upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
"""
OPERATORS = frozenset(_OPERATORS.split())
"""Operators of `torch` and `ops.aten`, as functions or as methods of a tensor, a list, a dictionary or a text."""

_ASKED = """
    device dim dtype get_device H T is_autocast_cpu_enabled is_complex is_conj is_contiguous is_cpu is_cuda
    is_floating_point is_grad_enabled is_inference is_leaf is_meta is_mps is_neg is_nested is_nonzero is_quantized
    is_same_size is_scripting is_signed is_sparse layout mH mT ndim requires_grad requires_grad_
    set_grad_enabled shape sparse_dim tolist type
"""
ASKED = frozenset(_ASKED.split())
"""Properties of tensors, what scripts ask PyTorch, and `torch.no_grad()`, the one setting that they may change."""

_PRIMITIVES = """
    NumToTensor RaiseException TupleIndex TupleUnpack abs data device dtype grad is_cpu is_cuda is_meta is_nested
    is_quantized is_sparse itemsize layout max min name nbytes requires_grad tolist type unchecked_cast
    unchecked_unwrap_optional
"""
PRIMITIVES = frozenset(_PRIMITIVES.split())
"""Words after `ops.prim.`."""

_NAMES = """
    torch ops CONSTANTS __torch__ __annotations__ inf nan
    abs all any annotate bin bool chr complex dict divmod enumerate float getattr hasattr hash hex int isinstance len
    list max min oct ord range reversed round set slice sorted str sum super tuple unchecked_cast uninitialized zip
    Any Device Dict Enum Exception Final Interface Layout List Module ModuleInterface NamedTuple NoneType Optional
    Tensor Tuple Union number
"""
NAMES = frozenset(_NAMES.split())
"""Words that stand alone: functions of the language and its types."""
